//! `image trust show`: the policy as a list.

use super::Trust;
use crate::{
    engine::Engine,
    model::{
        Result, TrustFiles,
        policy::{KeySource, Policy, Requirement, Rule, SigstoreKeys},
    },
};

/// One requirement of one rule.
#[derive(Clone, Debug, PartialEq)]
pub struct TrustLine {
    /// `all` for the default, `repository` for registries, otherwise the transport.
    pub transport: String,
    /// The scope; empty for a transport's default.
    pub scope: String,
    /// `accept`, `reject`, `sigstoreSigned`, `signed`, `signedBaseLayer`.
    pub kind: &'static str,
    /// Where the keys are.
    pub keys: Vec<String>,
    /// Why an image that this decides on will be refused, whoever signed it.
    pub cannot: Option<String>,
}

/// The policy that holds.
#[derive(Debug)]
pub struct TrustView {
    pub lines: Vec<TrustLine>,
    pub policy: Policy,
}

impl Engine {
    /// # Errors
    /// As `Trust::read`.
    pub fn trust(files: &TrustFiles) -> Result<TrustView> {
        let policy = Trust::read(files)?.policy;
        let mut lines = of_rule("all", "default", &policy.default);
        for (transport, scopes) in &policy.transports {
            let transport = match transport.as_str() {
                "docker" => "repository",
                other => other,
            };
            for (scope, rule) in scopes {
                lines.append(&mut of_rule(transport, scope, rule));
            }
        }
        Ok(TrustView { lines, policy })
    }
}

fn of_rule(transport: &str, scope: &str, rule: &Rule) -> Vec<TrustLine> {
    let line = |requirement: &Requirement| {
        let (kind, keys, cannot) = describe(requirement);
        TrustLine {
            transport: transport.to_owned(),
            scope: scope.to_owned(),
            kind,
            keys,
            cannot,
        }
    };
    rule.requirements().iter().map(line).collect()
}

fn describe(requirement: &Requirement) -> (&'static str, Vec<String>, Option<String>) {
    match requirement {
        Requirement::InsecureAcceptAnything {} => ("accept", Vec::new(), None),
        Requirement::Reject {} => ("reject", Vec::new(), None),
        Requirement::SigstoreSigned(keys) => describe_keys(keys),
        Requirement::SignedBy {
            key_path,
            key_paths,
            ..
        } => {
            let paths = key_path.iter().chain(key_paths.iter().flatten());
            let paths = paths.map(|path| path.display().to_string()).collect();
            let why = "signatures of GnuPG cannot be verified".to_owned();
            ("signed", paths, Some(why))
        }
        Requirement::SignedBaseLayer { .. } => {
            let why = "signedBaseLayer cannot be verified".to_owned();
            ("signedBaseLayer", Vec::new(), Some(why))
        }
    }
}

fn describe_keys(keys: &SigstoreKeys) -> (&'static str, Vec<String>, Option<String>) {
    let source = |source: KeySource<'_>| match source {
        KeySource::File(path) => path.display().to_string(),
        KeySource::Inline(_) => "(in the policy)".to_owned(),
    };
    let (sources, cannot) = match keys.sources() {
        Ok(sources) => (sources.into_iter().map(source).collect(), None),
        Err(why) => (Vec::new(), Some(why.to_owned())),
    };
    let cannot = cannot
        .or_else(|| keys.identity().mistake())
        .or_else(|| super::keys::read(keys).err().map(|error| error.one_line()));
    ("sigstoreSigned", sources, cannot)
}
