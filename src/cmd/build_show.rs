//! How a build shows itself: progress, failures with their lines, documents about it.

use std::io::{self, Write};

use serde_json::json;

use super::{columns, env, failure::Failure, ui, verb::Outcome};
use crate::{
    build::{
        Built, check,
        graph::Graph,
        lint,
        progress::{
            Clock, Event, Progress, Silent, plain::Plain, quiet::Quiet, rawjson::RawJson, tty::Tty,
        },
        request::BuildRequest,
    },
    engine::Engine,
    model::{Error, Result, manifest::Format},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Plain,
    Tty,
    Quiet,
    RawJson,
}

impl How {
    /// The flag, `BUILDKIT_PROGRESS`, or what standard error is.
    pub fn choose(flag: Option<&str>, quiet: bool) -> Result<How, Failure> {
        let named = flag.map(str::to_owned).or_else(env::build_progress);
        let capable = ui::stderr_is_terminal() && !env::dumb_terminal();
        match named.as_deref() {
            _ if quiet => Ok(How::Quiet),
            None | Some("auto" | "") if capable => Ok(How::Tty),
            None | Some("auto" | "" | "plain") => Ok(How::Plain),
            Some("tty") if capable => Ok(How::Tty),
            Some("tty") => Err(Failure::Plain(
                "failed to get console: standard error is not a terminal".to_owned(),
                1,
            )),
            Some("quiet" | "none") => Ok(How::Quiet),
            Some("rawjson") => Ok(How::RawJson),
            Some(other) => Err(Failure::Flag(format!("invalid progress type {other:?}"))),
        }
    }

    /// Does something with a printer, which has its last word before this returns.
    pub fn with<T>(self, act: impl FnOnce(&mut dyn Progress) -> Result<T>) -> Result<T> {
        let mut out = ui::error_output();
        let out: &mut dyn Write = &mut out;
        match self {
            How::Plain => {
                let mut printer = Plain::new(out, Clock::start());
                let done = act(&mut printer);
                printer.finish();
                done
            }
            How::Tty => {
                let colour = !env::no_color();
                let mut printer = Tty::new(out, Clock::start(), ui::error_size, colour);
                let done = act(&mut printer);
                printer.finish();
                done
            }
            How::Quiet => act(&mut Quiet::new(out)),
            How::RawJson => {
                let mut out = io::LineWriter::new(out);
                act(&mut RawJson::new(&mut out, Clock::start()))
            }
        }
    }
}

/// An error that shows lines of the Dockerfile: these stand before it, on lines of their own.
pub fn told(error: Error) -> Failure {
    let Some((what, excerpt)) = error.message().split_once('\n') else {
        return error.into();
    };
    ui::aside_lines(excerpt.trim_end());
    let mut short = Error::new(error.kind(), what);
    if let Some(hint) = error.hint() {
        short = short.with_hint(hint);
    }
    short.into()
}

/// For `--metadata-file`, as buildx names things.
pub fn metadata(request: &BuildRequest, built: &Built) -> String {
    let media_type = match request.docker_documents {
        true => Format::Docker,
        false => Format::Oci,
    };
    let mut document = json!({});
    if let Some((digest, size)) = &built.index {
        document["containerimage.descriptor"] = json!({
            "mediaType": media_type.index_type(),
            "digest": digest.as_str(),
            "size": size,
        });
        document["containerimage.digest"] = digest.as_str().into();
    } else if let Some(image) = &built.images.first().and_then(|image| image.kept.as_ref()) {
        document["containerimage.config.digest"] = image.id.as_str().into();
        document["containerimage.descriptor"] = json!({
            "mediaType": media_type.manifest_type(),
            "digest": image.manifest.as_str(),
            "size": image.manifest_size,
        });
        document["containerimage.digest"] = image.manifest.as_str().into();
    }
    if !request.tags.is_empty() {
        let names: Vec<String> = request.tags.iter().map(ToString::to_string).collect();
        document["image.name"] = names.join(",").into();
    }
    format!("{document:#}\n")
}

/// `--call check`, `outline`, `targets`: the answer on standard output.
pub fn describe(engine: &Engine, call: &str, request: &BuildRequest) -> Outcome {
    let examined = check::examine(engine, request, call == "check", &mut Silent).map_err(told)?;
    match call {
        "check" => checked(&examined.graph, request),
        "outline" => {
            ui::raw(
                columns::align(&outline(&lint::outline(&examined.file, &examined.graph)))
                    .as_bytes(),
            )?;
            Ok(0)
        }
        _ => {
            let mut text = "TARGET\tDESCRIPTION\n".to_owned();
            for target in lint::targets(&examined.file) {
                let name = target.name.unwrap_or_else(|| "<unnamed>".to_owned());
                let mark = if target.is_default { " (default)" } else { "" };
                text.push_str(&format!(
                    "{name}{mark}\t{}\n",
                    target.description.unwrap_or_default()
                ));
            }
            ui::raw(columns::align(&text).as_bytes())?;
            Ok(0)
        }
    }
}

/// As buildx: 1 if anything was found.
fn checked(graph: &Graph, request: &BuildRequest) -> Outcome {
    let mut found = Found::default();
    // Whether findings are errors makes no difference here.
    let _ = check::tell(graph, request, &mut found);
    match graph.warnings.len() {
        0 => ui::line("Check complete, no warnings found.")?,
        1 => ui::line("Check complete, 1 warning has been found!")?,
        count => ui::line(&format!(
            "Check complete, {count} warnings have been found!"
        ))?,
    }
    ui::lines(&found.0)?;
    Ok(u8::from(!graph.warnings.is_empty()))
}

/// The texts of warnings.
#[derive(Default)]
struct Found(String);

impl Progress for Found {
    fn event(&mut self, event: Event<'_>) {
        if let Event::Warning(warning) = event {
            let dash = if warning.url.is_empty() { "" } else { " - " };
            self.0.push_str(&format!(
                "\nWARNING: {}{dash}{}\n{}\n{}:{}\n--------------------\n{}\n--------------------\n",
                warning.rule,
                warning.url,
                warning.message,
                warning.file,
                warning.line,
                warning.excerpt.trim_end()
            ));
        }
    }
}

fn outline(outline: &lint::Outline) -> String {
    let mut text = String::new();
    if let Some(name) = &outline.name {
        text.push_str(&format!("TARGET:\t{name}\n"));
    }
    if let Some(description) = &outline.description {
        text.push_str(&format!("DESCRIPTION:\t{description}\n"));
    }
    if !outline.arguments.is_empty() {
        text.push_str("\nBUILD ARG\tVALUE\tDESCRIPTION\n");
    }
    for argument in &outline.arguments {
        let description = argument.description.as_deref().unwrap_or_default();
        text.push_str(&format!(
            "{}\t{}\t{description}\n",
            argument.name, argument.value
        ));
    }
    for (heading, list) in [("SECRET", &outline.secrets), ("SSH", &outline.sockets)] {
        if !list.is_empty() {
            text.push_str(&format!("\n{heading}\tREQUIRED\n"));
        }
        for secret in list {
            let required = if secret.required { "true" } else { "" };
            text.push_str(&format!("{}\t{required}\n", secret.id));
        }
    }
    text
}
