//! What a template's tree becomes before the engine runs it.
//!
//! The engine reads fields of maps and prints values in its own way, and has no methods. Its tree is
//! therefore rewritten into calls of functions that know Go's values (see [`super::go_values`]):
//!
//! ```text
//! {{.A.B}}            {{show (field "…" . "A" "B")}}
//! {{.Label "x"}}      {{show (call (field "…" . "Label") "x")}}
//! {{range .A}}        {{range each (field "…" . "A")}}
//! {{printf "%v" .A}}  {{show (printf "%v" (show (field "…" . "A")))}}
//! ```
//!
//! The text that each `field` begins with says where in the template it stands.

use gotmpl::{
    Template, TemplateError,
    parse::{CommandNode, Expr, ListNode, Node, Parser, PipeNode, Pos, SmolStr},
};

/// The functions that the tree is rewritten to call. No template can write such a name.
pub const FIELD: &str = "\0field";
pub const SHOW: &str = "\0show";
pub const EACH: &str = "\0each";

/// The name of the template itself among those that it defines.
pub const MAIN: &str = "\0main";

/// Functions whose arguments are printed.
const PRINTING: &[&str] = &["print", "println", "printf", "html", "js", "urlquery"];

/// Go's own functions. Those of Docker's are the caller's.
const BUILT_IN: &[&str] = &[
    "and", "call", "eq", "ge", "gt", "html", "index", "js", "le", "len", "lt", "ne", "not", "or",
    "print", "printf", "println", "slice", "urlquery",
];

/// Parses a template and gives `template` its trees. The error is what Go says.
pub fn parse(source: &str, template: Template, functions: &[&str]) -> Result<Template, String> {
    // For the mistakes that only the whole shows: a name that is defined twice.
    Template::new("").parse(source).map_err(mistake)?;
    let parsed = Parser::new(source, "{{", "}}").and_then(Parser::parse);
    let (mut main, defines) = parsed.map_err(mistake)?;
    let rewriter = Rewriter { source, functions };
    rewriter.list(&mut main)?;
    let mut template = template.add_parse_tree(MAIN, main);
    for mut define in defines {
        rewriter.list(&mut define.body)?;
        let is_new = template
            .lookup(&define.name)
            .is_none_or(ListNode::is_empty_tree);
        if is_new {
            template = template.add_parse_tree(&define.name, define.body);
        }
    }
    Ok(template)
}

/// Go names the line, and no column.
fn mistake(error: TemplateError) -> String {
    match error {
        TemplateError::Parse { line, message, .. } | TemplateError::Lex { line, message, .. } => {
            format!("template: :{line}: {message}")
        }
        other => format!("template: {other}"),
    }
}

struct Rewriter<'a> {
    source: &'a str,
    functions: &'a [&'a str],
}

type Rewritten = Result<(), String>;

impl Rewriter<'_> {
    fn list(&self, list: &mut ListNode) -> Rewritten {
        list.nodes.iter_mut().try_for_each(|node| self.node(node))
    }

    fn node(&self, node: &mut Node) -> Rewritten {
        match node {
            Node::List(list) => self.list(list),
            Node::Action(action) => {
                self.pipe(&mut action.pipe)?;
                if action.pipe.decl.is_empty() {
                    action.pipe.commands.push(call(action.pos, SHOW));
                }
                Ok(())
            }
            Node::If(branch) | Node::With(branch) | Node::Range(branch) => {
                self.pipe(&mut branch.pipe)?;
                self.list(&mut branch.body)?;
                branch
                    .else_body
                    .as_mut()
                    .map_or(Ok(()), |body| self.list(body))
            }
            Node::Template(template) => template
                .pipe
                .as_mut()
                .map_or(Ok(()), |pipe| self.pipe(pipe)),
            Node::Define(define) => self.list(&mut define.body),
            Node::Text(_) | Node::Break(_) | Node::Continue(_) => Ok(()),
        }?;
        if let Node::Range(branch) = node {
            branch.pipe.commands.push(call(branch.pos, EACH));
        }
        Ok(())
    }

    fn pipe(&self, pipe: &mut PipeNode) -> Rewritten {
        let commands = std::mem::take(&mut pipe.commands);
        for (at, mut command) in commands.into_iter().enumerate() {
            let piped = at > 0;
            let is_method = has_fields(&command.args[0]) && (piped || command.args.len() > 1);
            let prints = matches!(&command.args[0],
                Expr::Identifier(_, name) if PRINTING.contains(&name.as_str()));
            for argument in &mut command.args {
                self.expression(argument)?;
            }
            if is_method {
                let name = Expr::Identifier(command.pos, SmolStr::new("call"));
                command.args.insert(0, name);
            }
            if prints {
                command.args[1..].iter_mut().for_each(show);
                if piped {
                    pipe.commands.push(call(command.pos, SHOW));
                }
            }
            pipe.commands.push(command);
        }
        Ok(())
    }

    fn expression(&self, expression: &mut Expr) -> Rewritten {
        let (pos, of, fields) = match expression {
            Expr::Identifier(pos, name) => {
                let known =
                    self.functions.contains(&name.as_str()) || BUILT_IN.contains(&name.as_str());
                return match known {
                    true => Ok(()),
                    false => Err(format!(
                        "template: :{}: function {name:?} not defined",
                        pos.line
                    )),
                };
            }
            Expr::Pipe(_, pipe) => return self.pipe(pipe),
            Expr::Field(pos, fields) => (*pos, Expr::Dot(*pos), std::mem::take(fields)),
            Expr::Variable(pos, name, fields) if !fields.is_empty() => {
                let variable = Expr::Variable(*pos, name.clone(), Vec::new());
                (*pos, variable, std::mem::take(fields))
            }
            Expr::Chain(pos, inner, fields) => {
                self.expression(inner)?;
                (*pos, (**inner).clone(), std::mem::take(fields))
            }
            _ => return Ok(()),
        };
        let mut command = call(pos, FIELD);
        let place = format!(
            "{}: executing \"\" at <{}>",
            self.place(pos),
            path(&of, &fields)
        );
        command.args.push(Expr::String(pos, place.into()));
        command.args.push(of);
        command.args.extend(
            fields
                .iter()
                .map(|name| Expr::String(pos, name.as_str().into())),
        );
        *expression = Expr::Pipe(pos, of_one(pos, command));
        Ok(())
    }

    /// `:1:2`, the line and the bytes before it, as Go counts them.
    fn place(&self, pos: Pos) -> String {
        let before = self.source.get(..pos.offset).unwrap_or_default();
        let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1);
        format!(":{}:{column}", pos.line)
    }
}

fn has_fields(expression: &Expr) -> bool {
    match expression {
        Expr::Field(..) => true,
        Expr::Variable(_, _, fields) => !fields.is_empty(),
        // A function's result has no methods.
        Expr::Chain(_, inner, _) => !matches!(**inner, Expr::Identifier(..)),
        _ => false,
    }
}

/// `.A.B`, `$x.A`, `(…).A`
fn path(of: &Expr, fields: &[SmolStr]) -> String {
    let mut path = match of {
        Expr::Variable(_, name, _) => name.to_string(),
        Expr::Dot(_) => String::new(),
        _ => "(…)".to_owned(),
    };
    for field in fields {
        path.push('.');
        path.push_str(field);
    }
    path
}

fn call(pos: Pos, function: &'static str) -> CommandNode {
    CommandNode {
        pos,
        args: vec![Expr::Identifier(pos, SmolStr::new_static(function))],
    }
}

fn of_one(pos: Pos, command: CommandNode) -> PipeNode {
    PipeNode {
        pos,
        decl: Vec::new(),
        commands: vec![command],
        is_assign: false,
    }
}

fn show(argument: &mut Expr) {
    if matches!(
        argument,
        Expr::String(..) | Expr::Number(..) | Expr::Bool(..) | Expr::Nil(_)
    ) {
        return;
    }
    let pos = argument.pos();
    let mut command = call(pos, SHOW);
    command.args.push(argument.clone());
    *argument = Expr::Pipe(pos, of_one(pos, command));
}
