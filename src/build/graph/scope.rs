//! What variables are worth.
//!
//! Globally: what is predefined of platforms, then ARG before the first FROM. In a stage: the image's
//! ENV, then ARG and ENV in their order, the later one over the earlier one. A stage that begins with
//! another one has its ARGs too, but an ENV of the same name is over them.

use std::collections::{BTreeMap, BTreeSet};

use super::Inputs;
use crate::{
    build::dockerfile::{
        Dockerfile, Result,
        words::{self, Expanded, Reading, Variables},
    },
    model::Platform,
};

/// Names and values, in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Scope {
    values: Vec<(String, String)>,
}

impl Variables for Scope {
    fn get(&self, name: &str) -> Option<&str> {
        let found = self.values.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

impl Scope {
    pub fn set(&mut self, name: &str, value: &str) {
        match self.values.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.values.push((name.to_owned(), value.to_owned())),
        }
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.values.iter().map(|(name, _)| name.as_str())
    }

    /// `NAME=VALUE`.
    pub fn pairs(&self) -> Vec<String> {
        let pair = |(name, value): &(String, String)| format!("{name}={value}");
        self.values.iter().map(pair).collect()
    }

    pub fn expand(&self, word: &str, escape: char) -> Result<Expanded> {
        words::expand(word, escape, self)
    }

    /// As it is shown: if there is no way to expand it, as it was written.
    pub fn shown(&self, reading: Reading, text: &str, escape: char) -> String {
        match words::expand_as(reading, text, escape, self) {
            Ok(expanded) => expanded.text,
            Err(_) => text.to_owned(),
        }
    }
}

/// Variables before the first FROM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Globals {
    pub scope: Scope,
    /// Of ARG, with or without a value.
    pub declared: BTreeMap<String, Declared>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Declared {
    pub value: String,
    pub line: u32,
    /// Others that its value was made of.
    pub from: BTreeSet<String>,
}

impl Globals {
    pub fn source_date_epoch(&self, inputs: &Inputs) -> Option<String> {
        const NAME: &str = "SOURCE_DATE_EPOCH";
        let given = inputs.build_args.get(NAME).map(String::as_str);
        let value = given.or(self.scope.get(NAME))?;
        (!value.is_empty()).then(|| value.to_owned())
    }

    pub fn names(&self) -> BTreeSet<&str> {
        let declared = self.declared.keys().map(String::as_str);
        self.scope.names().chain(declared).collect()
    }
}

/// With the values that were given, or without: as the file itself says.
pub(super) fn globals(file: &Dockerfile, inputs: &Inputs, given: bool) -> Result<Globals> {
    let mut globals = Globals {
        scope: predefined(file, inputs),
        declared: BTreeMap::new(),
    };
    let escape = file.directives.escape;
    for global in &file.arguments {
        for argument in &global.arguments {
            let mut declared = Declared {
                line: *global.node.lines.start(),
                ..Declared::default()
            };
            let given = inputs.build_args.get(&argument.name).filter(|_| given);
            let value = match (given, &argument.default) {
                (Some(value), _) => Some(value.clone()),
                (None, None) => None,
                (None, Some(default)) => {
                    let expanded = globals.scope.expand(default, escape);
                    let expanded = expanded.map_err(|fault| fault.at(&global.node.lines))?;
                    declared.from = expanded.used;
                    Some(expanded.text)
                }
            };
            if let Some(value) = value {
                globals.scope.set(&argument.name, &value);
                declared.value = value;
            }
            globals.declared.insert(argument.name.clone(), declared);
        }
    }
    Ok(globals)
}

fn predefined(file: &Dockerfile, inputs: &Inputs) -> Scope {
    let last = file.stages.last().and_then(|stage| stage.from.name.clone());
    let target = inputs.target.clone().or(last);
    let variant = |platform: &Platform| platform.variant.clone().unwrap_or_default();
    let values = [
        ("BUILDPLATFORM", inputs.build_platform.to_string()),
        ("BUILDOS", inputs.build_platform.os.clone()),
        ("BUILDOSVERSION", String::new()),
        ("BUILDARCH", inputs.build_platform.architecture.clone()),
        ("BUILDVARIANT", variant(&inputs.build_platform)),
        ("TARGETPLATFORM", inputs.platform.to_string()),
        ("TARGETOS", inputs.platform.os.clone()),
        ("TARGETOSVERSION", String::new()),
        ("TARGETARCH", inputs.platform.architecture.clone()),
        ("TARGETVARIANT", variant(&inputs.platform)),
        (
            "TARGETSTAGE",
            target.unwrap_or_else(|| "default".to_owned()),
        ),
    ];
    let mut scope = Scope::default();
    for (name, value) in values {
        let given = inputs.build_args.get(name).cloned();
        scope.set(name, &given.unwrap_or(value));
    }
    scope
}

const PROXIES: [&str; 5] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
];

/// Arguments that need no ARG.
pub(super) fn is_predefined(name: &str) -> bool {
    let is_proxy = PROXIES.iter().any(|proxy| proxy.eq_ignore_ascii_case(name));
    let is_platform = ["BUILD", "TARGET"].iter().any(|kind| {
        name.strip_prefix(kind).is_some_and(|what| {
            matches!(
                what,
                "PLATFORM" | "OS" | "OSVERSION" | "ARCH" | "VARIANT" | "STAGE"
            )
        })
    });
    is_proxy || is_platform || name.starts_with("BUILDKIT_") || name == "SOURCE_DATE_EPOCH"
}

/// `NAME=VALUE` of proxies that were given, in both cases.
pub(super) fn proxies(inputs: &Inputs) -> Vec<String> {
    let given = |proxy: &str| {
        let mut given = inputs.build_args.iter();
        let found = given.rfind(|(name, _)| name.eq_ignore_ascii_case(proxy));
        found.map(|(_, value)| value.clone())
    };
    let both = |proxy: &&str| {
        given(proxy).map(|value| {
            let lower = proxy.to_ascii_lowercase();
            [format!("{proxy}={value}"), format!("{lower}={value}")]
        })
    };
    PROXIES.iter().filter_map(both).flatten().collect()
}
