//! Member chains: names that payloads do not have, and members of what may be missing.

use super::{Known, Linter, Missing};
use crate::advice;
use crate::diagnostic::{Code, Diagnostic};
use crate::schema::{Found, Members, Others, Shape, change_title, product_of};
use crate::span::Span;
use crate::typed::{Expr, Kind, Link, LinkKind, MemberName};
use crate::value::{Literal, Member, Type, Value};

impl Linter<'_> {
    pub(super) fn access(&mut self, head: &Expr, links: &[Link]) -> Known {
        let mut known = self.expr(head);
        // What a method is called on.
        let mut receiver = Known::default();
        let mut method = None;
        let mut optional_chain = false;
        for link in links {
            let next = match &link.kind {
                LinkKind::Member { name, optional, called } => {
                    optional_chain |= *optional;
                    let flaws = self.findings.len();
                    let next = self.member(&known, name, link.at, *called);
                    // A member that nothing has is not mended by `?.`.
                    if self.findings.len() == flaws {
                        self.missing(&known, link, Some(&name.text), *optional);
                    }
                    next
                }
                LinkKind::Index { index, optional, .. } => {
                    optional_chain |= *optional;
                    self.expr(index);
                    self.missing(&known, link, None, *optional);
                    element(&known)
                }
                LinkKind::Call { arguments, .. } => {
                    if let [argument] = arguments.as_slice()
                        && method == Some(Member::Includes)
                    {
                        self.never_included(&receiver, argument);
                    }
                    let constants = constants(head).filter(|_| method == Some(Member::Includes));
                    let result = self.call(&receiver, &known, arguments, constants);
                    match method {
                        // A list, or null: true or false in no case.
                        Some(Member::Match) if receiver.ty == Some(Type::String) => Known {
                            missing: Some(Missing::Sometimes),
                            ..Known::of_type(Some(Type::List))
                        },
                        _ => result,
                    }
                }
            };
            receiver = std::mem::replace(&mut known, next);
            method = match &link.kind {
                LinkKind::Member { name, .. } => name.member,
                _ => None,
            };
        }
        if optional_chain && known.missing.is_none() {
            known.missing = Some(Missing::Sometimes);
        }
        known
    }

    /// Warns of a plain step through a value that may be null.
    fn missing(&mut self, known: &Known, link: &Link, name: Option<&str>, optional: bool) {
        let (Some(missing), Some(path)) = (&known.missing, &known.path) else { return };
        if optional || self.guarded > 0 || self.present.contains(path) {
            return;
        }
        let fate = self.fate();
        let last = path.rsplit('.').next().unwrap_or(path);
        let message = match missing {
            Missing::Sometimes => {
                format!("an error when `{last}` is null, and onError {fate} the event")
            }
            Missing::On(event) => {
                format!("`{event}` has no `{last}`: an error, and onError {fate} the event")
            }
        };
        let written = self.text(link.at);
        let instead = match written.strip_prefix('.') {
            Some(name) => format!("?.{}", name.trim_start()),
            None => format!("?.{written}"),
        };
        let label = match name {
            Some(name) => format!("`{name}` of what may be null"),
            None => "of what may be null".to_owned(),
        };
        let finding = Diagnostic::warning(Code::MayBeMissing, link.at, message)
            .labelled(label)
            .with_help("`?.` makes the whole chain null instead")
            .replaced_by(instead);
        self.report(finding);
        // One word about it is enough.
        self.remember(path);
    }

    fn member(&mut self, known: &Known, name: &MemberName, at: Span, called: bool) -> Known {
        if known.ty == Some(Type::Function) && self.guarded == 0 {
            let before = self.text(Span { start: 0, end: at.start });
            let method = before.rsplit(['.', ' ', '(']).next().unwrap_or_default().to_owned();
            let message = format!("`{method}` is a method and has no `{}`", name.text);
            let finding =
                Diagnostic::warning(Code::UnknownMember, self.name_span(at, name), message);
            self.report(finding.with_help(format!("call it: `{method}()`")));
            return Known::default();
        }
        if known.shapes.is_empty() {
            let ty = known.ty.zip(name.member);
            return Known::of_type(ty.and_then(|(ty, m)| crate::check::member_type(ty, m, called)));
        }
        match known.ty {
            Some(Type::Map) => self.field(known, name, at),
            None if known.shapes.iter().any(|shape| matches!(shape, Shape::Map(_))) => {
                self.field(known, name, at)
            }
            Some(ty) => {
                let there =
                    name.member.is_some_and(|m| crate::builtin::members_of(ty).contains(&m));
                if !there && self.guarded == 0 {
                    self.no_method(known, ty, name, at);
                }
                let result = name.member.and_then(|m| crate::check::member_type(ty, m, called));
                Known::of_type(result)
            }
            None => Known::default(),
        }
    }

    fn no_method(&mut self, known: &Known, ty: Type, name: &MemberName, at: Span) {
        if self.is_full() {
            return;
        }
        let place = known.path.as_deref().unwrap_or("this");
        let message = format!("`{place}` is a {}, which has no `{}`", ty.name(), name.text);
        let finding = Diagnostic::warning(Code::UnknownMember, self.name_span(at, name), message);
        let known = crate::builtin::members_of(ty).iter().map(|member| member.name());
        let near = crate::schema::nearest(&name.text, known);
        self.report(match (near, advice::instead_of(ty, &name.text)) {
            (Some(near), _) => {
                finding.with_help("a member with a similar name exists").replaced_by(near)
            }
            (None, Some(help)) => finding.with_help(help),
            (None, None) => finding,
        });
    }

    /// A member of maps, in each body of events.
    fn field(&mut self, known: &Known, name: &MemberName, at: Span) -> Known {
        // Similar names are dear to look for, and nobody would be told.
        if self.is_full() {
            return Known::default();
        }
        let mut shapes = Vec::with_capacity(known.shapes.len());
        let mut present = Vec::with_capacity(known.shapes.len());
        let mut missing = None;
        let mut of_change = None;
        // The bodies that have no such member.
        let mut absent = Vec::new();
        for (at, shape) in known.shapes.iter().enumerate() {
            let Shape::Map(members) = shape else {
                shapes.push(Shape::Any);
                continue;
            };
            match self.find(members, &name.text) {
                Found::Field(field) => {
                    shapes.push(field.shape);
                    present.push(field.shape);
                    if field.may_be_missing {
                        missing = Some(Missing::Sometimes);
                    }
                    if members.title == change_title() {
                        of_change = Some(field.name);
                    }
                }
                Found::Open => {
                    shapes.push(Shape::Any);
                    present.push(Shape::Any);
                }
                Found::Unknown { nearest } => {
                    shapes.push(Shape::Any);
                    let event = self.bodies.get(at).map_or("", |(event, _)| event);
                    absent.push((event, *members, nearest));
                }
            }
        }
        match absent.first() {
            Some((_, members, nearest)) if present.is_empty() => {
                // Methods of maps are no fields.
                if !matches!(name.member, Some(Member::Get | Member::Set | Member::Entries)) {
                    let of_event = known.path.as_deref() == Some("event");
                    match crate::schema::elsewhere(&name.text).filter(|_| of_event) {
                        Some(help) => self.no_member(name, at, members, help),
                        None => self.no_field(name, at, members, *nearest),
                    }
                }
                return Known::default();
            }
            Some((event, ..)) => missing = Some(Missing::On((*event).into())),
            None => {}
        }
        let path = known.path.as_ref().map(|path| format!("{path}.{}", name.text).into());
        // Where there is none it is null, which has no say in the type.
        Known { shapes, path, missing, of_change, ..Known::of_shapes(present) }
    }

    fn no_field(
        &mut self,
        name: &MemberName,
        at: Span,
        members: &Members,
        nearest: Option<&'static str>,
    ) {
        let (span, title) = (self.name_span(at, name), members.title);
        if &*name.text == "issueType" && title == "Issue.fields" {
            // The checker has said it, whatever the event.
            return;
        }
        let event = self.bodies.first().map_or("", |(event, _)| *event);
        let finding = match product_of(&name.text, event) {
            Some(product) => {
                let message = format!("`{}` is a member of {product} events only", name.text);
                Diagnostic::warning(Code::UnknownField, span, message)
                    .labelled(format!("`{event}` has none"))
            }
            None => {
                let message = format!("no field `{}` on {title}", name.text);
                Diagnostic::warning(Code::UnknownField, span, message).labelled("unknown field")
            }
        };
        self.report(match nearest {
            Some(nearest) if self.text(span) == &*name.text => {
                finding.with_help("a field with a similar name exists").replaced_by(nearest)
            }
            Some(nearest) => finding.with_help(format!("did you mean `{nearest}`?")),
            None => match members.below(&name.text) {
                Some(path) if self.text(span) == &*name.text => {
                    finding.with_help(format!("it is found at `{path}`")).replaced_by(path)
                }
                _ if members.others == Others::CustomFields => {
                    finding.with_help("custom fields go by their ids, such as `customfield_10010`")
                }
                _ => finding,
            },
        });
    }

    /// A member that only other events have, or none.
    fn no_member(&mut self, name: &MemberName, at: Span, event: &Members, help: &str) {
        let message = format!("no field `{}` on {}", name.text, event.title);
        let finding = Diagnostic::warning(Code::UnknownField, self.name_span(at, name), message);
        self.report(finding.labelled("unknown field").with_help(help));
    }

    /// The name of a step, without the `.` before it; the whole of `['name']`.
    fn name_span(&self, at: Span, name: &MemberName) -> Span {
        if self.text(at).ends_with(&*name.text) {
            let length = u32::try_from(name.text.len()).unwrap_or(u32::MAX);
            return Span { start: at.end.saturating_sub(length), end: at.end };
        }
        at
    }

    /// `list.includes(value)` of a list whose elements have another type.
    fn never_included(&mut self, list: &Known, value: &Expr) {
        let element = element(list);
        let (Some(element_ty), Some(ty)) = (element.ty, value.ty) else { return };
        if list.ty != Some(Type::List) || element_ty == ty || ty == Type::Null {
            return;
        }
        let (elements, name) = (element_ty.name(), ty.name());
        let message = format!("a list of {elements}s never includes a {name}");
        let written = self.text(value.span).to_owned();
        let finding = Diagnostic::warning(Code::NeverEqual, value.span, message);
        self.report(match element_ty {
            Type::Map => finding.with_help(format!("write `some(x => x.name == {written})`")),
            _ => finding,
        });
    }

    /// A value of the event that is none of `constants`, whatever it is.
    fn never_among(&mut self, constants: &[Literal], value: &Expr, known: &Known) {
        let Some(ty) = known.ty.filter(|ty| *ty != Type::Null && value.ty.is_none()) else {
            return;
        };
        let mut types = constants.iter().map(|constant| Value::of_literal(constant).type_of());
        let Some(first) = types.next() else { return };
        if first == ty || types.any(|other| other != first) {
            return;
        }
        let message = format!("a list of {}s never includes a {}", first.name(), ty.name());
        let written = self.text(value.span).to_owned();
        let finding = Diagnostic::warning(Code::NeverEqual, value.span, message);
        self.report(match ty {
            Type::Map => {
                let path = advice::member_to_compare(&written);
                finding.with_help(format!("look for a member of it: `{path}`"))
            }
            Type::List => finding.with_help(format!(
                "look for its elements: `{written}.some(x => list.includes(x))`"
            )),
            Type::String => finding.with_help("payloads hold it as text: put quotes around each"),
            _ => finding,
        });
    }

    fn call(
        &mut self,
        receiver: &Known,
        method: &Known,
        arguments: &[Expr],
        constants: Option<&[Literal]>,
    ) -> Known {
        let element = element(receiver);
        for argument in arguments {
            match &argument.kind {
                Kind::Lambda(id) if receiver.ty == Some(Type::List) => {
                    let index = Known::of_type(Some(Type::Number));
                    self.lambda(*id, vec![element.clone(), index]);
                }
                _ => {
                    let known = self.expr(argument);
                    if let Some(constants) = constants {
                        self.never_among(constants, argument, &known);
                    }
                }
            }
        }
        Known::of_type(method.ty.filter(|ty| *ty != Type::Function))
    }
}

/// The constants that a list consists of.
fn constants(list: &Expr) -> Option<&[Literal]> {
    match &list.kind {
        Kind::Literals(constants) => Some(constants),
        _ => None,
    }
}

/// What the elements of a list are.
fn element(list: &Known) -> Known {
    let elements = list.shapes.iter().map(|shape| match shape {
        Shape::List(element) => **element,
        _ => Shape::Any,
    });
    Known::of_shapes(elements.collect())
}
