//! The checker: resolves names, infers static types, and reports errors and warnings.
//!
//! Values below `event` have unknown types, so a filter is rejected for types only if it fails
//! whenever it is evaluated. [`CheckProfile::General`] reports even that as a warning.

mod scope;
mod types;

use std::sync::Arc;

use crate::ast::{self, BinaryOp, UnaryOp};
use crate::budget::FrameSize;
use crate::builtin::regexp::{self, Pattern};
use crate::builtin::{
    Member, constructor_named, constructor_names, function_named, members_of, unknown_member,
};
use crate::check::scope::ScopeStack;
use crate::diagnostic::{Code, Diagnostic, Severity};
use crate::limits::{FINDINGS_MAX, PATTERN_BYTES_MAX, PATTERNS_MAX};
use crate::profile::CheckProfile;
use crate::span::{Span, to_u32};
use crate::suggestions;
use crate::typed::{
    Applied, Block, Body, Expr, ExprKind, Frame, Link, LinkKind, MemberName, Part, Typed,
};
use crate::value::{Constructor, Literal, Type};

/// Checks `program`. Findings are in source order; a program is rejected if one of them is an
/// error.
///
/// # Errors
/// All findings, at least one of them an error.
pub(crate) fn check(
    program: &ast::Sequence,
    source: &str,
    profile: CheckProfile,
) -> Result<(Typed, Vec<Diagnostic>), Vec<Diagnostic>> {
    let mut checker = Checker {
        profile,
        scopes: ScopeStack::new(),
        lambdas: Vec::new(),
        variables: Vec::new(),
        findings: Vec::new(),
        try_depth: 0,
        patterns: Vec::new(),
        nodes: 0,
    };
    let (body, ty) = checker.block(program);
    checker.top_level(program, ty);
    let (slots, captures) = checker.scopes.leave_function();
    let size = FrameSize { slots, nodes: checker.nodes, height: program.height };
    let main = Frame { parameters: 0, captures, body, size };
    let mut findings = checker.findings;
    findings.sort_by_key(|finding| (finding.span.start, finding.code));
    if findings.iter().any(|finding| finding.severity == Severity::Error) {
        return Err(findings);
    }
    let (lambdas, variables) = (checker.lambdas, checker.variables);
    let patterns = checker.patterns.into_iter();
    let patterns = patterns.filter_map(|(text, compiled)| Some((text, compiled.ok()?))).collect();
    Ok((Typed { source: source.into(), main, lambdas, variables, patterns }, findings))
}

/// A compiled pattern, or the reason why it does not compile.
type PatternResult = Result<Arc<Pattern>, String>;

struct Checker {
    profile: CheckProfile,
    scopes: ScopeStack,
    lambdas: Vec<Frame>,
    variables: Vec<Box<str>>,
    findings: Vec<Diagnostic>,
    /// Number of open `try` blocks: an error inside may be intended.
    try_depth: u32,
    /// Regular expression literals, each compiled once.
    patterns: Vec<(Box<str>, PatternResult)>,
    /// Nodes of the current function so far.
    nodes: u32,
}

impl Checker {
    /// Whether a finding of this severity is still reported. A source may hold thousands, and one
    /// error is enough to reject it.
    fn can_report(&self, severity: Severity) -> bool {
        let refused = || self.findings.iter().any(|known| known.severity == Severity::Error);
        self.findings.len() < FINDINGS_MAX || (severity == Severity::Error && !refused())
    }

    /// The severity of an expression that fails whenever it is evaluated.
    fn certain_failure_severity(&self) -> Severity {
        if self.profile == CheckProfile::General || self.try_depth > 0 {
            Severity::Warning
        } else {
            Severity::Error
        }
    }

    /// Reports an expression that fails whenever it is evaluated.
    fn report_certain_failure(&mut self, mut finding: Diagnostic) {
        finding.severity = self.certain_failure_severity();
        if self.can_report(finding.severity) {
            self.findings.push(finding);
        }
    }

    fn top_level(&mut self, program: &ast::Sequence, ty: Option<Type>) {
        let Some(ty) = ty.filter(|ty| *ty != Type::Boolean) else { return };
        if self.profile == CheckProfile::Filter {
            let span = match &program.body {
                ast::Body::Expr(expr) => expr.span,
                ast::Body::If { arms, .. } => arms.first().map_or(Span::NONE, |arm| arm.0.span),
                ast::Body::Try { span, .. } => *span,
            };
            let message = format!("this filter is never true or false: it yields a {}", ty.name());
            self.findings.push(
                Diagnostic::warning(Code::NotBoolean, span, message)
                    .with_help("compare the value: there is no truthiness at the top of a filter"),
            );
        }
    }

    fn block(&mut self, sequence: &ast::Sequence) -> (Block, Option<Type>) {
        let outer = self.scopes.enter_block();
        let declarations = sequence
            .declarations
            .iter()
            .map(|(name, value)| {
                // A name is not in scope in its own value.
                let value = self.expr(value);
                (self.scopes.declare(&name.text, value.ty), value)
            })
            .collect();
        let (body, ty) = self.body(&sequence.body);
        self.scopes.leave_block(outer);
        (Block { declarations, body }, ty)
    }

    fn body(&mut self, body: &ast::Body) -> (Body, Option<Type>) {
        match body {
            ast::Body::Expr(expr) => {
                let expr = self.expr(expr);
                let ty = expr.ty;
                (Body::Expr(expr), ty)
            }
            ast::Body::If { arms, otherwise } => {
                let mut types = Vec::new();
                let mut checked = Vec::new();
                for (condition, block) in arms {
                    let condition = self.expr(condition);
                    let (block, ty) = self.block(block);
                    checked.push((condition, block));
                    types.push(ty);
                }
                let (otherwise, ty) = self.block(otherwise);
                let ty = types.into_iter().fold(ty, types::common);
                (Body::If { arms: checked, otherwise: Box::new(otherwise) }, ty)
            }
            ast::Body::Try { attempt, error, handler, span } => {
                self.try_depth += 1;
                let (attempt, attempt_ty) = self.block(attempt);
                self.try_depth -= 1;
                let outer = self.scopes.enter_block();
                let error =
                    error.as_ref().map(|name| self.scopes.declare(&name.text, Some(Type::Error)));
                let (handler, handler_ty) = self.block(handler);
                self.scopes.leave_block(outer);
                let (attempt, handler) = (Box::new(attempt), Box::new(handler));
                let body = Body::Try { attempt, error, handler, span: *span };
                (body, types::common(attempt_ty, handler_ty))
            }
        }
    }

    fn expr(&mut self, expr: &ast::Expr) -> Expr {
        let span = expr.span;
        self.nodes += 1;
        let (kind, ty) = match &expr.kind {
            ast::ExprKind::Null => (ExprKind::Literal(Literal::Null), Some(Type::Null)),
            ast::ExprKind::Bool(value) => {
                (ExprKind::Literal(Literal::Bool(*value)), Some(Type::Boolean))
            }
            ast::ExprKind::Number(number) => {
                (ExprKind::Literal(Literal::Number(*number)), Some(Type::Number))
            }
            ast::ExprKind::String(text) => {
                (ExprKind::Literal(Literal::String(text.clone())), Some(Type::String))
            }
            ast::ExprKind::Name(name) => self.name(name, span),
            ast::ExprKind::Template(parts) => (self.template(parts), Some(Type::String)),
            ast::ExprKind::List(items) => (self.list(items), Some(Type::List)),
            ast::ExprKind::Map(entries) => {
                let entries =
                    entries.iter().map(|(key, value)| (key.clone(), self.expr(value))).collect();
                (ExprKind::Map(entries), Some(Type::Map))
            }
            ast::ExprKind::New { class, arguments } => self.constructor(class, arguments),
            ast::ExprKind::Unary { op, operand } => self.unary(*op, operand, span),
            ast::ExprKind::Chain { first, rest } => self.chain(first, rest),
            ast::ExprKind::Conditional { arms, otherwise } => {
                let arms: Vec<(Expr, Expr)> = arms
                    .iter()
                    .map(|(condition, value)| (self.expr(condition), self.expr(value)))
                    .collect();
                let otherwise = self.expr(otherwise);
                let ty = arms.iter().map(|(_, value)| value.ty).fold(otherwise.ty, types::common);
                (ExprKind::Conditional { arms, otherwise: Box::new(otherwise) }, ty)
            }
            ast::ExprKind::Throw(operand) => (ExprKind::Throw(Box::new(self.expr(operand))), None),
            ast::ExprKind::Lambda { parameters, body } => {
                (self.lambda(parameters, body), Some(Type::Function))
            }
            ast::ExprKind::Access { head, links } => self.access(head, links),
        };
        Expr { kind, span, ty }
    }

    fn name(&mut self, name: &str, span: Span) -> (ExprKind, Option<Type>) {
        if let Some((binding, ty)) = self.scopes.resolve(name) {
            return (ExprKind::Binding(binding), ty);
        }
        if let Some(native) = function_named(name) {
            return (ExprKind::Native(native), Some(Type::Function));
        }
        match name {
            "undefined" => {
                self.findings.push(
                    Diagnostic::warning(Code::Undefined, span, "`undefined` is read as null")
                        .with_help("write `null`")
                        .replaced_by("null"),
                );
                return (ExprKind::Literal(Literal::Null), Some(Type::Null));
            }
            "event" => {}
            _ if self.profile == CheckProfile::Filter && self.can_report(Severity::Error) => {
                self.findings.push(unknown_name(name, span));
            }
            _ => {}
        }
        (ExprKind::Variable(self.variable(name)), None)
    }

    /// The index of a free name.
    fn variable(&mut self, name: &str) -> u32 {
        let known = self.variables.iter().position(|known| &**known == name);
        let at = known.unwrap_or_else(|| {
            self.variables.push(name.into());
            self.variables.len() - 1
        });
        to_u32(at)
    }

    fn template(&mut self, parts: &[ast::TemplatePart]) -> ExprKind {
        let parts = parts.iter().map(|part| match part {
            ast::TemplatePart::Text(text) => {
                // A text part is not a node, but an operand of the template.
                self.nodes += 1;
                Part::Text(text.clone())
            }
            ast::TemplatePart::Placeholder(expr) => Part::Placeholder(self.expr(expr)),
        });
        ExprKind::Template(parts.collect())
    }

    fn list(&mut self, items: &[ast::Expr]) -> ExprKind {
        let items: Vec<Expr> = items.iter().map(|item| self.expr(item)).collect();
        let literals: Option<Vec<Literal>> = items
            .iter()
            .map(|item| match &item.kind {
                ExprKind::Literal(literal) => Some(literal.clone()),
                _ => None,
            })
            .collect();
        literals.map_or(ExprKind::List(items), ExprKind::Literals)
    }

    fn constructor(
        &mut self,
        class: &ast::Name,
        arguments: &[ast::Expr],
    ) -> (ExprKind, Option<Type>) {
        let (meaning, ty) = match &*class.text {
            "Issue" | "User" | "Project" => (Constructor::Loading, None),
            name => constructor_named(name).unwrap_or((Constructor::Unknown, None)),
        };
        let message = match meaning {
            Constructor::Loading => format!("`new {}` would have to load data", class.text),
            Constructor::Unknown => format!("there is no constructor `{}`", class.text),
            _ => String::new(),
        };
        if !message.is_empty() {
            let finding = Diagnostic::error(Code::UnknownConstructor, class.span, message);
            self.report_certain_failure(finding.with_help(known_constructors()));
        }
        let arguments = arguments.iter().map(|argument| self.expr(argument)).collect();
        (ExprKind::New { class: meaning, arguments }, ty)
    }

    fn unary(&mut self, op: UnaryOp, operand: &ast::Expr, span: Span) -> (ExprKind, Option<Type>) {
        if let (UnaryOp::TypeOf, ast::ExprKind::Name(name)) = (op, &operand.kind)
            && self.scopes.resolve(name).is_none()
            && function_named(name).is_none()
        {
            return (ExprKind::TypeOfVariable(self.variable(name)), Some(Type::String));
        }
        if let (UnaryOp::Negate, ast::ExprKind::Number(number)) = (op, &operand.kind) {
            // A constant, so that lists of negative numbers are lists of constants.
            return (ExprKind::Literal(Literal::Number(-number)), Some(Type::Number));
        }
        let operand = Box::new(self.expr(operand));
        let ty = match op {
            UnaryOp::Not => Type::Boolean,
            UnaryOp::TypeOf => Type::String,
            UnaryOp::Negate => {
                if let Some(found) = operand.ty.filter(|ty| *ty != Type::Number) {
                    let message = format!("`-` needs a Number, found {}", found.name());
                    self.report_certain_failure(Diagnostic::error(Code::BadOperand, span, message));
                }
                Type::Number
            }
        };
        (ExprKind::Unary { op, operand }, Some(ty))
    }

    fn chain(&mut self, first: &ast::Expr, rest: &[ast::Applied]) -> (ExprKind, Option<Type>) {
        let start = first.span;
        let first = self.expr(first);
        let (mut left, mut ty) = (first.span, first.ty);
        let mut applied = Vec::with_capacity(rest.len());
        for ast::Applied { op, op_span, operand } in rest {
            let operand = self.expr(operand);
            self.operands(*op, *op_span, (left, ty), (operand.span, operand.ty));
            ty = types::binary(*op, ty, operand.ty);
            let span = start.to(operand.span);
            left = span;
            applied.push(Applied { op: *op, operand, span });
        }
        (ExprKind::Chain { first: Box::new(first), rest: applied }, ty)
    }

    /// Reports operand types that the operator never accepts.
    fn operands(
        &mut self,
        op: BinaryOp,
        op_span: Span,
        left: (Span, Option<Type>),
        right: (Span, Option<Type>),
    ) {
        let (Some(left_ty), Some(right_ty)) = (left.1, right.1) else { return };
        let severity = match types::fit(op, left_ty, right_ty) {
            types::Fit::Fine => return,
            types::Fit::NeverEqual => Severity::Warning,
            _ => self.certain_failure_severity(),
        };
        if !self.can_report(severity) {
            return;
        }
        let (left_name, right_name) = (left_ty.name(), right_ty.name());
        let labelled = |finding: Diagnostic| {
            finding.with_label(left.0, left_name).with_label(right.0, right_name)
        };
        match types::fit(op, left_ty, right_ty) {
            types::Fit::Fine => {}
            types::Fit::NeverEqual => {
                let message = format!("{left_name} and {right_name} are never equal");
                let null = left_ty == Type::Null || right_ty == Type::Null;
                if !null {
                    self.findings.push(labelled(
                        Diagnostic::warning(Code::NeverEqual, op_span, message)
                            .labelled("never converts between types"),
                    ));
                }
            }
            types::Fit::NotComparable => {
                let message = format!("cannot compare {left_name} with {right_name}");
                let label = format!("`{}` needs two values of the same ordered type", op.symbol());
                self.report_certain_failure(labelled(
                    Diagnostic::error(Code::NotComparable, op_span, message).labelled(label),
                ));
            }
            types::Fit::BadOperand => {
                let sign = op.symbol();
                let message = format!("`{sign}` cannot be applied to {left_name} and {right_name}");
                let mut finding = labelled(Diagnostic::error(Code::BadOperand, op_span, message));
                if left_name == Type::Date.name() {
                    finding = finding.with_help(
                        "use the methods of dates: `date.minusDays(7)`, `date.plusHours(1)`",
                    );
                }
                self.report_certain_failure(finding);
            }
        }
    }

    fn lambda(&mut self, parameters: &[ast::Name], body: &ast::Sequence) -> ExprKind {
        self.scopes.enter_function();
        let outer_nodes = std::mem::take(&mut self.nodes);
        for parameter in parameters {
            self.scopes.declare(&parameter.text, None);
        }
        let (block, _) = self.block(body);
        let (slots, captures) = self.scopes.leave_function();
        let parameters = to_u32(parameters.len());
        let nodes = std::mem::replace(&mut self.nodes, outer_nodes);
        let size = FrameSize { slots, nodes, height: body.height };
        self.lambdas.push(Frame { parameters, captures, body: block, size });
        ExprKind::Lambda(to_u32(self.lambdas.len() - 1))
    }

    fn access(&mut self, head: &ast::Expr, links: &[ast::Link]) -> (ExprKind, Option<Type>) {
        let start = head.span;
        let (head, links) = match self.namespaced_function(head, links) {
            Some(native) => native,
            None => (self.expr(head), links),
        };
        self.drop_quote_suggestion(head.span);
        let mut ty = head.ty;
        let mut checked: Vec<Link> = Vec::with_capacity(links.len());
        for (at, link) in links.iter().enumerate() {
            let before = at.checked_sub(1).and_then(|at| links.get(at));
            let called =
                links.get(at + 1).is_some_and(|next| matches!(next.kind, ast::LinkKind::Call(_)));
            let (kind, next_ty) = self.link(link, before, ty, called);
            checked.push(Link { kind, span: start.to(link.span), at: link.span });
            ty = next_ty;
        }
        // An optional link may make the whole chain null.
        let optional = checked.iter().any(|link| {
            matches!(
                link.kind,
                LinkKind::Member { optional: true, .. } | LinkKind::Index { optional: true, .. }
            )
        });
        if checked.is_empty() {
            return (head.kind, head.ty);
        }
        let ty = ty.filter(|_| !optional);
        (ExprKind::Access { head: Box::new(head), links: checked }, ty)
    }

    /// Removes the suggestion to quote an unknown name: a name with members is not meant as text.
    fn drop_quote_suggestion(&mut self, head: Span) {
        let last = self.findings.last_mut().filter(|last| {
            let is_text = last.replacement.as_deref().is_some_and(|text| text.starts_with('\''));
            is_text && last.code == Code::UnknownName && last.span == head
        });
        if let Some(finding) = last {
            finding.replacement = None;
            finding.help =
                Some("filters start at `event`; other names are declared with `let`".into());
        }
    }

    /// Resolves `JSON.parse` and `JSON.stringify`; `JSON` itself is not a value.
    fn namespaced_function<'a>(
        &mut self,
        head: &ast::Expr,
        links: &'a [ast::Link],
    ) -> Option<(Expr, &'a [ast::Link])> {
        let (first, rest) = links.split_first()?;
        let ast::ExprKind::Name(namespace) = &head.kind else { return None };
        let ast::LinkKind::Member { name, optional: false } = &first.kind else { return None };
        if self.scopes.resolve(namespace).is_some() {
            return None;
        }
        let native = function_named(&format!("{namespace}.{}", name.text))?;
        let span = head.span.to(first.span);
        Some((Expr { kind: ExprKind::Native(native), span, ty: Some(Type::Function) }, rest))
    }

    fn link(
        &mut self,
        link: &ast::Link,
        before: Option<&ast::Link>,
        receiver: Option<Type>,
        called: bool,
    ) -> (LinkKind, Option<Type>) {
        match &link.kind {
            ast::LinkKind::Member { name, optional } => {
                self.payload_spelling(name, before);
                self.member(&name.text, name.span, *optional, receiver, called)
            }
            ast::LinkKind::Index { index, optional } => {
                if let ast::ExprKind::String(name) = &index.kind {
                    return self.member(name, index.span, *optional, receiver, called);
                }
                let index = Box::new(self.expr(index));
                (LinkKind::Index { index, optional: *optional, called }, None)
            }
            ast::LinkKind::Call(arguments) => {
                let method =
                    before.is_some_and(|before| !matches!(before.kind, ast::LinkKind::Call(_)));
                let known = receiver.filter(|ty| *ty != Type::Function && !method);
                if let Some(ty) = known {
                    let message = format!("{} is not a function", ty.name());
                    self.report_certain_failure(Diagnostic::error(
                        Code::NotCallable,
                        link.span,
                        message,
                    ));
                }
                self.pattern(before, arguments);
                let arguments = arguments.iter().map(|argument| self.expr(argument)).collect();
                let ty = if method { receiver } else { None };
                (LinkKind::Call { arguments, method }, ty)
            }
        }
    }

    /// Checks a member access by name. If the member is called next, the type is that of its
    /// result.
    fn member(
        &mut self,
        name: &str,
        span: Span,
        optional: bool,
        receiver: Option<Type>,
        called: bool,
    ) -> (LinkKind, Option<Type>) {
        let member = Member::named(name);
        let known = receiver.filter(|ty| !matches!(ty, Type::Map | Type::Null));
        if let Some(ty) = known.filter(|_| !optional)
            && member.and_then(|member| member.on(ty)).is_none()
            && self.can_report(self.certain_failure_severity())
        {
            let message = unknown_member(ty, name).into_error().message;
            let finding = Diagnostic::error(Code::UnknownMember, span, message);
            let known = members_of(ty).iter().map(|member| member.name);
            self.report_certain_failure(
                match (
                    crate::schema::nearest(name, known),
                    suggestions::suggest_replacement(ty, name),
                ) {
                    (Some(near), _) => {
                        finding.with_help("a member with a similar name exists").replaced_by(near)
                    }
                    (None, Some(help)) => finding.with_help(help),
                    (None, None) => finding,
                },
            );
        }
        let ty = known.zip(member).and_then(|(ty, member)| member.type_on(ty, called));
        let name = MemberName { text: name.into(), member };
        (LinkKind::Member { name, optional, called }, ty)
    }

    /// Warns about `issueType`: payloads spell fields as the REST API does, unlike the vendor's own
    /// filter example.
    fn payload_spelling(&mut self, name: &ast::Name, before: Option<&ast::Link>) {
        let below_fields = before.is_some_and(|before| match &before.kind {
            ast::LinkKind::Member { name, .. } => &*name.text == "fields",
            _ => false,
        });
        if self.profile == CheckProfile::Filter && below_fields && &*name.text == "issueType" {
            self.findings.push(
                Diagnostic::warning(
                    Code::UnknownField,
                    name.span,
                    "no field `issueType`; payload fields are spelt as Jira sends them",
                )
                .labelled("unknown field")
                .with_help("write `issuetype`")
                .replaced_by("issuetype"),
            );
        }
    }

    /// Reports a regular expression literal that does not compile.
    fn pattern(&mut self, method: Option<&ast::Link>, arguments: &[ast::Expr]) {
        let Some(ast::LinkKind::Member { name, .. }) = method.map(|link| &link.kind) else {
            return;
        };
        let Some(argument) = arguments.first() else { return };
        let ast::ExprKind::String(pattern) = &argument.kind else { return };
        if !Member::named(&name.text).is_some_and(Member::takes_pattern) {
            return;
        }
        let known = self.patterns.iter().position(|(known, _)| known == pattern);
        let bytes = self.patterns.iter().map(|(pattern, _)| pattern.len()).sum::<usize>();
        let excess = if self.patterns.len() >= PATTERNS_MAX {
            let message = format!("the expression has more than {PATTERNS_MAX} patterns");
            Some((message, "join alternatives in one pattern: `'a|b'`"))
        } else if bytes + pattern.len() > PATTERN_BYTES_MAX {
            let message = format!("the patterns have more than {PATTERN_BYTES_MAX} bytes together");
            Some((message, "search for words with `includes`, which needs no compilation"))
        } else {
            None
        };
        if let Some((message, help)) = excess.filter(|_| known.is_none()) {
            let finding = Diagnostic::error(Code::TooManyPatterns, argument.span, message);
            self.findings.push(finding.with_help(help));
            return;
        }
        let at = known.unwrap_or_else(|| {
            let compiled = regexp::compile(pattern).map(Arc::new);
            self.patterns.push((pattern.clone(), compiled));
            self.patterns.len() - 1
        });
        if let Some((_, Err(why))) = self.patterns.get(at) {
            let message = format!("the pattern is not supported: {why}");
            self.report_certain_failure(Diagnostic::error(
                Code::BadPattern,
                argument.span,
                message,
            ));
        }
    }
}

/// The help for an unknown constructor: all known ones.
fn known_constructors() -> String {
    let names: Vec<&str> = constructor_names().collect();
    let (last, others) = names.split_last().unwrap_or((&"", &[]));
    format!("there are {} and {last}", others.join(", "))
}

fn unknown_name(name: &str, span: Span) -> Diagnostic {
    let message = format!("`{name}` is not defined in a filter");
    let finding = Diagnostic::error(Code::UnknownName, span, message);
    let meant = match name.to_ascii_lowercase().as_str() {
        "empty" | "null" | "nil" | "none" => Some("null"),
        "true" => Some("true"),
        "false" => Some("false"),
        "not" => Some("!"),
        _ => None,
    };
    if let Some(meant) = meant {
        return finding.with_help(format!("write `{meant}`")).replaced_by(meant);
    }
    match name {
        "currentUser" | "user" | "context" | "principal" | "actor" | "me" => {
            return finding.with_help("who caused an event is `event.atlassianId`, an account id");
        }
        "now" => return finding.with_help("the time of the evaluation is `new Date()`"),
        _ => {}
    }
    // A word that no event has as a top-level member is more likely a string without quotes.
    if crate::schema::is_top_level(name) {
        finding
            .with_help(format!("filters start at `event`: `event.{name}...`"))
            .replaced_by(format!("event.{name}"))
    } else {
        finding
            .with_help(format!("strings are quoted, `'{name}'`; filters start at `event`"))
            .replaced_by(format!("'{name}'"))
    }
}

#[cfg(test)]
mod tests;
