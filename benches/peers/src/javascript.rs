//! QuickJS: each filter a function, called one after the other by a loop inside the engine.

use rquickjs::{Context, Function, Runtime};

use crate::Peer;
use crate::workload::FilterSpec;

pub(crate) struct All {
    runtime: Runtime,
    context: Context,
}

const LOOP: &str = "
    globalThis.run = text => {
        const event = JSON.parse(text), found = [];
        for (let at = 0; at < filters.length; at++) {
            try { if (filters[at](event) === true) found.push(numbers[at]); } catch {}
        }
        return found;
    };";

impl All {
    pub(crate) fn new(filters: &[(u32, FilterSpec)]) -> Self {
        let runtime = Runtime::new().expect("an engine");
        let context = Context::full(&runtime).expect("an engine");
        context.with(|context| {
            context
                .eval::<(), _>("globalThis.filters = []; globalThis.numbers = []")
                .expect("a list");
            // In parts, because a script has a size limit.
            for part in filters.chunks(1_000) {
                let add = |(number, spec): &(u32, FilterSpec)| {
                    format!("filters.push(event => {}); numbers.push({number});", spec.filter())
                };
                context.eval::<(), _>(part.iter().map(add).collect::<String>()).expect("filters");
            }
            context.eval::<(), _>(LOOP).expect("a function");
        });
        Self { runtime, context }
    }
}

impl Peer for All {
    fn matches(&mut self, event: &'static [u8], found: &mut Vec<u32>) {
        let event = std::str::from_utf8(event).expect("UTF-8");
        self.context.with(|context| {
            let run: Function<'_> = context.globals().get("run").expect("a function");
            found.extend(run.call::<_, Vec<u32>>((event,)).expect("an answer"));
        });
    }

    fn foreign_bytes(&self) -> usize {
        self.runtime.memory_usage().malloc_size.unsigned_abs() as usize
    }
}
