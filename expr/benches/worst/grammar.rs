//! A grammar of random expressions: trees of text templates with holes, and mutations of them.

/// A template; each `$` is a hole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    text: &'static str,
    /// The separator of repetitions, if the rule can be repeated.
    joint: Option<&'static str>,
}

const fn once(text: &'static str) -> Rule {
    Rule { text, joint: None }
}

const fn many(text: &'static str, joint: &'static str) -> Rule {
    Rule { text, joint: Some(joint) }
}

/// The rules of expressions. Rules without holes come first.
const RULES: &[Rule] = &[
    once("event.s"),
    once("event.t"),
    once("event.xs"),
    once("event.ys"),
    once("event.m"),
    once("event.m.field_62"),
    once("event.m.missing"),
    once("event.d"),
    once("event.j"),
    once("event.p"),
    once("event.n"),
    once("event"),
    once("event.issue.fields.summary"),
    once("event.issue.fields.customfield_10010"),
    once("event.isue.kye"),
    once("x"),
    once("y"),
    once("i"),
    once("1"),
    once("0"),
    once("-1"),
    once("0.1"),
    once("123456.789e-30"),
    once("'a'"),
    once("''"),
    once("' '"),
    once("'abaa'"),
    once("'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab'"),
    once("'[a-z]{1,50}b'"),
    once("'(a*)*b|(.)(.)'"),
    once("'a.{0,20}b'"),
    once("'\\\\p{L}+'"),
    once("'(?i)\\\\p{L}\\\\W'"),
    once("'2020-01-31'"),
    once("'[[1,2],{\"a\":[]}]'"),
    once("null"),
    once("true"),
    once("[]"),
    once("{}"),
    once("new Map()"),
    once("new Date()"),
    once("[1,2,3,4,5,6,7,8]"),
    once("x=>x"),
    once("undefined"),
    once("'\u{1f600}'"),
    many("$", "&&"),
    many("$", "||"),
    many("$", "??"),
    many("$", "+"),
    many("$", "*"),
    many("$", "=="),
    many("$", ","),
    many("$", "."),
    many("$", " "),
    many("$", "?1:"),
    many("let y=$;", ""),
    many("let x=$;x+", ""),
    many("(", ""),
    many("!", ""),
    many("x=>", ""),
    many("if($){$}else ", ""),
    many(".trim()", ""),
    many("`${$}`", "+"),
    many("'a{9}'.match('[^$]')", "&&"),
    once("($)"),
    once("($,$)"),
    once("[$]"),
    once("[$,$]"),
    once("{a:$,b:$}"),
    once("({a:$})"),
    once("`a${$}b`"),
    once("!$"),
    once("-$"),
    once("typeof $"),
    once("($)+($)"),
    once("($)==($)"),
    once("($)!=($)"),
    once("($)<($)"),
    once("($)%($)"),
    once("($)&&($)"),
    once("($)||($)"),
    once("(($)?($):($))"),
    once("($).length"),
    once("($).a"),
    once("($)?.zz"),
    once("($)[$]"),
    once("($)[100]"),
    once("($)[199]"),
    once("($).field_62"),
    once("($).trim()"),
    once("($).toLowerCase()"),
    once("($).toUpperCase()"),
    once("($).split($)"),
    once("($).slice(1)"),
    once("($).slice($,$)"),
    once("($).includes($)"),
    once("($).indexOf($)"),
    once("($).padStart(100,$)"),
    once("($).padEnd(99)"),
    once("($).repeat(100)"),
    once("($).replace($,$)"),
    once("($).replace('a',x=>$)"),
    once("($).match($)"),
    once("($).match('[a-z]{1,50}b')"),
    once("($).match('(a*)*b|(.)(.)')"),
    once("($).matchAll($)"),
    once("($).matchAll('.')"),
    once("($).map(x=>$)"),
    once("($).map((x,i)=>$)"),
    once("($).flatMap(x=>$)"),
    once("($).filter(x=>$)"),
    once("($).every(x=>$)"),
    once("($).some(x=>$)"),
    once("($).some(y=>$)"),
    once("($).flatten()"),
    once("($).concat($)"),
    once("($).reduce((x,y)=>$,$)"),
    once("($).reduce((x,y)=>x.set(`k${y}`,$),new Map())"),
    once("($).join($)"),
    once("($).sort((x,y)=>$)"),
    once("($).get($)"),
    once("($).set($,$)"),
    once("($).set('a',$).a"),
    once("($).entries()"),
    once("Number($)"),
    once("JSON.parse($)"),
    once("JSON.stringify($)"),
    once("new Date($)"),
    once("new CalendarDate('2020-01-31')"),
    once("(new Date($)).toISOString()"),
    once("(new Date($)).plusMonths(1)"),
    once("(new Date($)).getDay()"),
    once("new RichText({type:'paragraph',content:[{type:'text',text:$}]})"),
    once("(x=>$)($)"),
    once("(()=>{let y=$;$})()"),
    once("((x,y)=>$)($,$)"),
    once("(f=>f(f,9))((f,i)=>i==0?$:f(f,i-1))"),
    once("(()=>{try{$}catch(y){$}})()"),
    once("(()=>{if($){$}else{$}})()"),
    once("event.ys.every(x=>{let y=$;true})"),
    once("event.ys.every(x=>event.ys.every(y=>{let z=$;true}))"),
    once("event.ys.every(x=>event.ys.every(y=>{try{$}catch(e){true}}))"),
    // Invalid sources must be rejected as fast.
    once("==="),
    once("="),
    once("#"),
    once("'"),
    once("`"),
    once("/*"),
    once("a b"),
    once("issue.key"),
    once("event.issue.key=='A-1'"),
    once("event.issue.key=='A-2'"),
    once("event.issue.fields.labels.length>'1'"),
    once("event.changelog.items.some(x=>x.field=='Status')"),
    once("event.issue.fields.assignee.accountId"),
    once("event.comment!=null"),
    once("event.issue.id==1"),
];

/// A tree of rules.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    rule: Rule,
    times: usize,
    parts: Vec<Tree>,
}

/// A deterministic random number generator.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed | 1)
    }

    /// A number below `bound`, which is not zero.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap_or(0) % bound
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.below(from.len().max(1)))
    }
}

impl Tree {
    /// A tree of at most `depth` levels.
    pub(crate) fn grow(dice: &mut Dice, depth: usize) -> Tree {
        let leaves = RULES.iter().take_while(|rule| !rule.text.contains('$')).count();
        let from = if depth > 1 && dice.below(4) > 0 {
            RULES
        } else {
            RULES.get(..leaves).unwrap_or(RULES)
        };
        let rule = dice.pick(from).copied().unwrap_or(once("1"));
        let times = match rule.joint {
            None => 1,
            Some(_) => 1 << dice.below(14),
        };
        let parts = rule.text.matches('$').map(|_| Tree::grow(dice, depth - 1)).collect();
        Tree { rule, times, parts }
    }

    /// Returns a mutated copy: a part is generated again, taken from `other`, wrapped or unwrapped.
    pub(crate) fn changed(&self, dice: &mut Dice, other: &Tree) -> Tree {
        let mut tree = self.clone();
        let at = dice.below(tree.size());
        let donor = other.part(dice.below(other.size())).cloned();
        let Some(place) = tree.part_mut(at) else { return tree };
        match dice.below(6) {
            0 => *place = Tree::grow(dice, 3),
            1 => *place = Tree::grow(dice, 5),
            2 => *place = donor.unwrap_or_else(|| place.clone()),
            3 => {
                let mut around = Tree::grow(dice, 2);
                if let Some(hole) = around.parts.first_mut() {
                    *hole = place.clone();
                }
                *place = around;
            }
            4 => {
                if let Some(inner) = dice.pick(&place.parts).cloned() {
                    *place = inner;
                }
            }
            _ => place.times = if place.rule.joint.is_some() { 1 << dice.below(14) } else { 1 },
        }
        tree
    }

    fn size(&self) -> usize {
        1 + self.parts.iter().map(Tree::size).sum::<usize>()
    }

    fn part(&self, mut at: usize) -> Option<&Tree> {
        if at == 0 {
            return Some(self);
        }
        at -= 1;
        for part in &self.parts {
            let size = part.size();
            if at < size {
                return part.part(at);
            }
            at -= size;
        }
        None
    }

    fn part_mut(&mut self, mut at: usize) -> Option<&mut Tree> {
        if at == 0 {
            return Some(self);
        }
        at -= 1;
        for part in &mut self.parts {
            let size = part.size();
            if at < size {
                return part.part_mut(at);
            }
            at -= size;
        }
        None
    }

    /// Returns the expression, or none if it is longer than `bytes_max`. Repetitions are cut to
    /// fit.
    pub(crate) fn source(&self, bytes_max: usize) -> Option<String> {
        let mut unit = String::new();
        let mut parts = self.parts.iter();
        for (at, text) in self.rule.text.split('$').enumerate() {
            if at > 0 {
                unit.push_str(&parts.next()?.source(bytes_max)?);
            }
            unit.push_str(text);
        }
        let joint = self.rule.joint.unwrap_or_default();
        let fitting = bytes_max / (unit.len() + joint.len()).max(1);
        let times = self.times.min(fitting);
        (times > 0).then(|| vec![unit.as_str(); times].join(joint))
    }
}
