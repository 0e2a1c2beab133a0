//! Checks of member chains: members that payloads do not have, and accesses to nullable values.

use super::operator::{document_help, is_document};
use super::{InferredValue, Linter, NotBoolean, NullReason};
use crate::builtin::{IndexTest, Member, MethodTest, members_of};
use crate::diagnostic::{Code, Diagnostic};
use crate::schema::{FieldLookup, MapShape, Shape, UnlistedMembers, change_title, product_of};
use crate::span::Span;
use crate::suggestions;
use crate::typed::{Expr, ExprKind, Link, LinkKind, MemberName};
use crate::value::{Literal, Type, Value};

impl Linter<'_> {
    pub(super) fn access(&mut self, head: &Expr, links: &[Link]) -> InferredValue {
        let mut known = self.expr(head);
        // The receiver of a method call.
        let mut receiver = InferredValue::default();
        let mut method: Option<Member> = None;
        let mut optional_chain = false;
        // Whether `?.` may end the chain early.
        let mut may_skip = false;
        for link in links {
            let is_certain = self.is_certain(&known);
            let next = match &link.kind {
                LinkKind::Member { name, optional, called } => {
                    optional_chain |= *optional;
                    let flaws = self.findings.len();
                    let next = self.member(&known, name, link.at, *called);
                    // `?.` does not help with a member that no event has.
                    if self.findings.len() == flaws {
                        self.warn_nullable_access(&known, link, Some(&name.text), *optional);
                    }
                    next
                }
                LinkKind::Index { index, optional, .. } => {
                    optional_chain |= *optional;
                    self.expr(index);
                    self.warn_nullable_access(&known, link, None, *optional);
                    element(&known)
                }
                LinkKind::Call { arguments, .. } => {
                    self.called_value(&known, link);
                    let includes = method.and_then(Member::index_test)
                        == Some(IndexTest::Method(MethodTest::Includes));
                    if let [argument] = arguments.as_slice()
                        && includes
                    {
                        self.never_included(&receiver, argument);
                    }
                    let constants = constants(head).filter(|_| includes);
                    let result = self.call(&receiver, &known, arguments, constants);
                    match receiver.ty.and_then(|ty| method?.nullable_on(ty)) {
                        Some(ty) => InferredValue {
                            null_reason: Some(NullReason::Optional),
                            ..InferredValue::of_type(Some(ty))
                        },
                        None => result,
                    }
                }
            };
            if let LinkKind::Member { optional: true, .. }
            | LinkKind::Index { optional: true, .. } = &link.kind
            {
                may_skip |= !is_certain || self.may_be_null(head, &next).is_some();
            }
            receiver = std::mem::replace(&mut known, next);
            method = match &link.kind {
                LinkKind::Member { name, .. } => name.member,
                _ => None,
            };
        }
        if optional_chain && known.null_reason.is_none() {
            known.null_reason = Some(NullReason::Optional);
        }
        if let Some(last) = links.last().filter(|_| may_skip) {
            known.not_boolean = Some(NotBoolean { span: last.span, ty: Type::Null });
        }
        known
    }

    /// Whether a value is certainly not null.
    fn is_certain(&self, known: &InferredValue) -> bool {
        let is_proven = known.path.as_ref().is_some_and(|path| self.non_null.contains(path));
        is_proven || known.certain_type().is_some()
    }

    /// Reports a call of a value of the payload, such as `item.toString()` of a changelog item.
    fn called_value(&mut self, known: &InferredValue, call: &Link) {
        let Some(ty) = known.ty.filter(|ty| *ty != Type::Function) else { return };
        if known.shapes.is_empty() || self.try_depth > 0 {
            return;
        }
        let callee = self.text(Span { start: call.span.start, end: call.at.start }).to_owned();
        let name = callee.rsplit('.').next().unwrap_or_default().to_owned();
        let message = format!("`{name}` is a {} of the payload, not a method", ty.name());
        let finding = Diagnostic::warning(Code::NotCallable, call.at, message);
        self.report(finding.with_help(format!("read it without a call: `{callee}`")));
    }

    /// Reports text methods on what may be a document.
    fn text_of_document(
        &mut self,
        known: &InferredValue,
        name: &MemberName,
        at: Span,
        called: bool,
    ) -> InferredValue {
        let of_text = name.member.filter(|member| member.on(Type::String).is_some());
        if of_text.is_some() && self.try_depth == 0 {
            let path = known.path.as_deref().unwrap_or("document").to_owned();
            let message = format!("`{path}` may be a document, which has no `{}`", name.text);
            let span = self.name_span(at, name);
            let finding = Diagnostic::warning(Code::UnknownMember, span, message);
            self.report(finding.with_help(document_help(&path)));
        }
        InferredValue::of_type(of_text.and_then(|member| member.type_on(Type::String, called)))
    }

    /// Warns about a plain access to a value that may be null.
    fn warn_nullable_access(
        &mut self,
        known: &InferredValue,
        link: &Link,
        name: Option<&str>,
        optional: bool,
    ) {
        let (Some(null_reason), Some(path)) = (&known.null_reason, &known.path) else { return };
        if optional || self.try_depth > 0 || self.non_null.contains(path) {
            return;
        }
        let on_error_action = self.on_error_action();
        let last = path.rsplit('.').next().unwrap_or(path);
        let message = match null_reason {
            NullReason::Optional => {
                format!("an error when `{last}` is null, and onError {on_error_action} the event")
            }
            NullReason::AbsentOn(event) => {
                format!(
                    "`{event}` has no `{last}`: an error, and onError {on_error_action} the event"
                )
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
        // Warns once for each path.
        self.mark_non_null(path);
    }

    fn member(
        &mut self,
        known: &InferredValue,
        name: &MemberName,
        at: Span,
        called: bool,
    ) -> InferredValue {
        if known.ty == Some(Type::Function) && self.try_depth == 0 {
            let before = self.text(Span { start: 0, end: at.start });
            let method = before.rsplit(['.', ' ', '(']).next().unwrap_or_default().to_owned();
            let message = format!("`{method}` is a method and has no `{}`", name.text);
            let finding =
                Diagnostic::warning(Code::UnknownMember, self.name_span(at, name), message);
            self.report(finding.with_help(format!("call it: `{method}()`")));
            return InferredValue::default();
        }
        if known.shapes.is_empty() {
            let ty = known.ty.zip(name.member);
            return InferredValue::of_type(ty.and_then(|(ty, m)| m.type_on(ty, called)));
        }
        if is_document(known) {
            return self.text_of_document(known, name, at, called);
        }
        match known.ty {
            Some(Type::Map) => self.field(known, name, at),
            None if known.shapes.iter().any(|shape| matches!(shape, Shape::Map(_))) => {
                self.field(known, name, at)
            }
            Some(ty) => {
                let there = name.member.is_some_and(|m| m.on(ty).is_some());
                if !there && self.try_depth == 0 {
                    self.no_method(known, ty, name, at);
                }
                let result = name.member.and_then(|m| m.type_on(ty, called));
                InferredValue::of_type(result)
            }
            None => InferredValue::default(),
        }
    }

    fn no_method(&mut self, known: &InferredValue, ty: Type, name: &MemberName, at: Span) {
        if self.is_full() {
            return;
        }
        let path = known.path.as_deref().unwrap_or("this");
        let message = format!("`{path}` is a {}, which has no `{}`", ty.name(), name.text);
        let finding = Diagnostic::warning(Code::UnknownMember, self.name_span(at, name), message);
        let known = members_of(ty).iter().map(|member| member.name);
        let near = crate::schema::nearest(&name.text, known);
        self.report(match (near, suggestions::suggest_replacement(ty, &name.text)) {
            (Some(near), _) => {
                finding.with_help("a member with a similar name exists").replaced_by(near)
            }
            (None, Some(help)) => finding.with_help(help),
            (None, None) => finding,
        });
    }

    /// Looks up a member of maps in each schema.
    fn field(&mut self, known: &InferredValue, name: &MemberName, at: Span) -> InferredValue {
        // Searching for similar names is expensive, and the finding would not be reported.
        if self.is_full() {
            return InferredValue::default();
        }
        let mut shapes = Vec::with_capacity(known.shapes.len());
        let mut found_shapes = Vec::with_capacity(known.shapes.len());
        let mut null_reason = None;
        let mut changelog_field = None;
        // The schemas that do not have the member.
        let mut absent = Vec::new();
        for (at, shape) in known.shapes.iter().enumerate() {
            let Shape::Map(members) = shape else {
                shapes.push(Shape::Any);
                continue;
            };
            match self.find(members, &name.text) {
                FieldLookup::Field(field) => {
                    shapes.push(field.shape);
                    found_shapes.push(field.shape);
                    if field.may_be_missing {
                        null_reason = Some(NullReason::Optional);
                    }
                    if members.title == change_title() {
                        changelog_field = Some(field.name);
                    }
                }
                FieldLookup::Open => {
                    shapes.push(Shape::Any);
                    found_shapes.push(Shape::Any);
                }
                FieldLookup::Unknown { nearest } => {
                    shapes.push(Shape::Any);
                    let event = self.bodies.get(at).map_or("", |(event, _)| event);
                    absent.push((event, *members, nearest));
                }
            }
        }
        match absent.first() {
            Some((_, members, nearest)) if found_shapes.is_empty() => {
                // Methods of Map are not fields.
                if name.member.is_none_or(|member| member.on(Type::Map).is_none()) {
                    let of_event = known.path.as_deref() == Some("event");
                    match crate::schema::missing_field_hint(&name.text).filter(|_| of_event) {
                        Some(help) => self.no_member(name, at, members, help),
                        None => self.no_field(name, at, members, *nearest),
                    }
                }
                return InferredValue::default();
            }
            Some((event, ..)) => null_reason = Some(NullReason::AbsentOn((*event).into())),
            None => {}
        }
        let path = known.path.as_ref().map(|path| format!("{path}.{}", name.text).into());
        // A missing member is null, which does not affect the type.
        InferredValue {
            shapes,
            path,
            null_reason,
            changelog_field,
            ..InferredValue::of_shapes(found_shapes)
        }
    }

    fn no_field(
        &mut self,
        name: &MemberName,
        at: Span,
        members: &MapShape,
        nearest: Option<&'static str>,
    ) {
        let (span, title) = (self.name_span(at, name), members.title);
        if &*name.text == "issueType" && title == "Issue.fields" {
            // The checker reports this for all events.
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
            None => match members.find_nested(&name.text) {
                Some(path) if self.text(span) == &*name.text => {
                    finding.with_help(format!("it is found at `{path}`")).replaced_by(path)
                }
                _ if members.others == UnlistedMembers::CustomFields => finding
                    .with_help("custom fields are named by their ids, such as `customfield_10010`"),
                _ => finding,
            },
        });
    }

    /// Reports a top-level member that this event does not have.
    fn no_member(&mut self, name: &MemberName, at: Span, event: &MapShape, help: &str) {
        let message = format!("no field `{}` on {}", name.text, event.title);
        let finding = Diagnostic::warning(Code::UnknownField, self.name_span(at, name), message);
        self.report(finding.labelled("unknown field").with_help(help));
    }

    /// The span of the name, without the `.` before it; the whole of `['name']`.
    fn name_span(&self, at: Span, name: &MemberName) -> Span {
        if self.text(at).ends_with(&*name.text) {
            let length = u32::try_from(name.text.len()).unwrap_or(u32::MAX);
            return Span { start: at.end.saturating_sub(length), end: at.end };
        }
        at
    }

    /// Reports `list.includes(value)` if the elements of the list have another type.
    fn never_included(&mut self, list: &InferredValue, value: &Expr) {
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

    /// Reports an event value whose type differs from all `constants`.
    fn never_among(&mut self, constants: &[Literal], value: &Expr, known: &InferredValue) {
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
                let path = suggestions::member_to_compare(&written);
                finding.with_help(format!("look for a member of it: `{path}`"))
            }
            Type::List => finding.with_help(format!(
                "look for its elements: `{written}.some(x => list.includes(x))`"
            )),
            Type::String => {
                finding.with_help("payloads contain it as text: put quotes around each")
            }
            _ => finding,
        });
    }

    fn call(
        &mut self,
        receiver: &InferredValue,
        method: &InferredValue,
        arguments: &[Expr],
        constants: Option<&[Literal]>,
    ) -> InferredValue {
        let element = element(receiver);
        for argument in arguments {
            match &argument.kind {
                ExprKind::Lambda(id) if receiver.ty == Some(Type::List) => {
                    let index = InferredValue::of_type(Some(Type::Number));
                    self.lambda(*id, vec![element.clone(), index]);
                }
                _ => {
                    let known = self.expr(argument);
                    if let Some(constants) = constants {
                        self.event_types(constants, argument, &known);
                        self.never_among(constants, argument, &known);
                    }
                }
            }
        }
        InferredValue::of_type(method.ty.filter(|ty| *ty != Type::Function))
    }
}

/// The literals of a list.
fn constants(list: &Expr) -> Option<&[Literal]> {
    match &list.kind {
        ExprKind::Literals(constants) => Some(constants),
        _ => None,
    }
}

/// The inferred value of the elements of a list.
fn element(list: &InferredValue) -> InferredValue {
    let elements = list.shapes.iter().map(|shape| match shape {
        Shape::List(element) => **element,
        _ => Shape::Any,
    });
    InferredValue::of_shapes(elements.collect())
}
