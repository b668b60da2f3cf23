//! `secret`: values that containers get and nobody else sees.

use std::{collections::BTreeMap, fs, io::Read};

use clap::Args;
use serde_json::{Value, json};

use super::{
    Session, each, env,
    filter::Filters,
    inspect,
    listing::Look,
    parse,
    removal_flags::RemovalFlags,
    template::{Inspect, List, Row},
    times, ui,
    unsupported::{Unsupported, refused},
    verb::{Arity, Class, Outcome, Verb},
};
use crate::{
    engine::secrets::{NewSecret, SecretBytes},
    model::{
        Context, Error, ErrorKind, Result,
        secret::{MAX_BYTES, SecretRecord},
    },
};

#[derive(Args)]
struct CreateFlags {
    /// Where it is kept: file
    #[arg(long, short = 'd', value_name = "string", default_value = "file")]
    driver: String,
    /// Note an option of the driver, KEY=VALUE
    #[arg(long, value_name = "stringToString")]
    driver_opts: Vec<String>,
    /// Take the value of the variable with the name of the second argument
    #[arg(long)]
    env: bool,
    /// Set a label, KEY=VALUE
    #[arg(long, short = 'l', value_name = "list")]
    label: Vec<String>,
    /// Put the value in the place of an older one
    #[arg(long)]
    replace: bool,
}

pub const CREATE: Verb = Verb {
    spellings: &["secret create"],
    about: "Keep a secret, from a file or from standard input (-)",
    usage: "[OPTIONS] NAME FILE|-",
    arity: Arity::Exactly(2),
    unsupported: OF_SWARMS,
    flags: CreateFlags::augment_args,
    run: |session, matches, arguments| create(session, parse::flags(matches)?, &arguments),
    ..Verb::PLAIN
};

static OF_SWARMS: &[Unsupported] = &[refused(
    "template-driver",
    "a secret is given as it is: write what is in it before",
)];

fn create(session: &Session, flags: CreateFlags, arguments: &[String]) -> Outcome {
    if flags.driver != "file" {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("secret driver {:?} is not supported", flags.driver),
        )
        .with_hint("--driver file keeps it in the store")
        .into());
    }
    let secret = NewSecret {
        name: arguments[0].clone(),
        data: SecretBytes::new(value(&arguments[1], flags.env)?)?,
        labels: pairs(&flags.label),
        driver_options: pairs(&flags.driver_opts),
        replace: flags.replace,
    };
    ui::line(&session.engine()?.create_secret(secret)?)?;
    Ok(0)
}

fn value(source: &str, is_variable: bool) -> Result<Vec<u8>> {
    if is_variable {
        let found = env::forwarded(source).map(String::into_bytes);
        return found.ok_or_else(|| Error::invalid(format!("variable {source} is not set")));
    }
    let read = |reader: &mut dyn Read| {
        let mut bytes = Vec::new();
        // One more than is allowed, so that the excess is noticed.
        reader
            .take(MAX_BYTES as u64 + 1)
            .read_to_end(&mut bytes)
            .map(|_| bytes)
    };
    let bytes = match source {
        "-" if ui::stdin_is_terminal() => {
            return Err(Error::invalid(
                "standard input is a terminal: pipe the secret in, or name a file",
            ));
        }
        "-" => read(&mut std::io::stdin().lock()),
        path => fs::File::open(path).and_then(|mut file| read(&mut file)),
    };
    bytes.context(ErrorKind::InvalidArgument, || {
        format!("cannot read the secret from {source}")
    })
}

fn pairs(texts: &[String]) -> BTreeMap<String, String> {
    let split = |text: &String| {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        (key.to_owned(), value.to_owned())
    };
    texts.iter().map(split).collect()
}

#[derive(Args)]
struct ListFlags {
    /// Show those that fit: name, id
    #[arg(long, short = 'f', value_name = "filter")]
    filter: Vec<String>,
    #[command(flatten)]
    look: Look,
    /// Print IDs alone
    #[arg(long, short = 'q')]
    quiet: bool,
}

pub const LS: Verb = Verb {
    spellings: &["secret ls", "secret list"],
    about: "List secrets",
    usage: "[OPTIONS]",
    flags: ListFlags::augment_args,
    run: |session, matches, _| list(session, &parse::flags(matches)?),
    ..Verb::PLAIN
};

const HEADINGS: &[(&str, &str)] = &[
    ("ID", "ID"),
    ("Name", "NAME"),
    ("Driver", "DRIVER"),
    ("CreatedAt", "CREATED"),
    ("UpdatedAt", "UPDATED"),
];

fn list(session: &Session, flags: &ListFlags) -> Outcome {
    let filters = Filters::parse(&flags.filter, &["id", "name"])?;
    let mut secrets = session.engine()?.secrets()?;
    let names = filters.patterns("name");
    secrets.retain(|secret| {
        filters.accepts("id", |prefix| secret.id.starts_with(prefix))
            && names.accept_name(&secret.name)
    });
    let rows: Vec<Row> = secrets.iter().map(row).collect();
    let list = List {
        headings: HEADINGS,
        default: r"table {{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.CreatedAt}}\t{{.UpdatedAt}}",
    };
    let quiet = flags.quiet.then_some("ID");
    flags.look.print(&list, &rows, None, quiet)
}

fn row(secret: &SecretRecord) -> Row {
    Row {
        fields: vec![
            ("ID", secret.id.clone()),
            ("Name", secret.name.clone()),
            ("Driver", "file".to_owned()),
            ("CreatedAt", times::ago(&secret.created)),
            ("UpdatedAt", times::ago(&secret.updated)),
        ],
        labels: secret.labels.clone(),
    }
}

#[derive(Args)]
struct InspectFlags {
    /// "json", or a template in Go's language
    #[arg(long, short = 'f', value_name = "string")]
    format: Option<String>,
    /// Print lines for people
    #[arg(long)]
    pretty: bool,
    /// Show the value too
    #[arg(long)]
    showsecret: bool,
}

pub const INSPECT: Verb = Verb {
    spellings: &["secret inspect"],
    about: "Show everything about secrets but their values",
    usage: "[OPTIONS] SECRET [SECRET...]",
    arity: Arity::AtLeast(1),
    flags: InspectFlags::augment_args,
    run: |session, matches, names| show(session, &parse::flags(matches)?, &names),
    ..Verb::PLAIN
};

fn show(session: &Session, flags: &InspectFlags, names: &[String]) -> Outcome {
    let template = flags.format.as_deref().map(Inspect::parse).transpose()?;
    let mut found = Vec::new();
    let code = each::each(Class::Other, names, |name| {
        let secret = session.engine()?.secret(name)?;
        let object = object(&secret, flags.showsecret);
        if let Some(template) = &template {
            ui::line(&template.show(None, &object)?)?;
        } else if flags.pretty {
            ui::raw(for_people(&secret).as_bytes())?;
        } else {
            found.push(object);
        }
        Ok(())
    })?;
    if template.is_none() && !flags.pretty {
        ui::json(&inspect::pretty(&found))?;
    }
    Ok(code)
}

/// Podman's keys.
fn object(secret: &SecretRecord, with_value: bool) -> Value {
    let mut object = json!({
        "ID": secret.id,
        "CreatedAt": secret.created,
        "UpdatedAt": secret.updated,
        "Spec": {
            "Name": secret.name,
            "Driver": {"Name": "file", "Options": secret.driver_options},
            "Labels": secret.labels,
        },
    });
    if with_value {
        object["SecretData"] = json!(String::from_utf8_lossy(secret.data.reveal()));
    }
    object
}

fn for_people(secret: &SecretRecord) -> String {
    let labels: Vec<String> = secret
        .labels
        .iter()
        .map(|(key, value)| format!(" - {key}={value}\n"))
        .collect();
    format!(
        "ID:              {}\nName:            {}\nLabels:\n{}Driver:          file\nCreated at:      {}\nUpdated at:      {}\n",
        secret.id,
        secret.name,
        labels.concat(),
        times::go_text(&secret.created),
        times::go_text(&secret.updated),
    )
}

pub const RM: Verb = Verb {
    spellings: &["secret rm", "secret remove"],
    about: "Remove secrets",
    usage: "[OPTIONS] SECRET [SECRET...]",
    arity: Arity::AtLeast(0),
    flags: RemovalFlags::augment_args,
    run: |session, matches, names| remove(session, &parse::flags(matches)?, names),
    ..Verb::PLAIN
};

fn remove(session: &Session, flags: &RemovalFlags, names: Vec<String>) -> Outcome {
    let engine = session.engine()?;
    let names = flags.chosen("secret rm", names, || {
        Ok(engine.secrets()?.into_iter().map(|s| s.id).collect())
    })?;
    each::each(Class::Remove, &names, |name| {
        match engine.remove_secret(name) {
            Ok(id) => ui::line(&id),
            Err(error) if flags.overlook(error.kind(), ErrorKind::NoSuchSecret) => Ok(()),
            Err(error) => Err(error.into()),
        }
    })
}

pub const EXISTS: Verb = Verb {
    spellings: &["secret exists"],
    about: "Say by the exit code whether a secret is there: 0 or 1",
    usage: "SECRET",
    arity: Arity::Exactly(1),
    run: |session, _, names| match session.engine()?.secret(&names[0]) {
        Ok(_) => Ok(0),
        Err(error) if error.kind() == ErrorKind::NoSuchSecret => Ok(1),
        Err(error) => Err(error.into()),
    },
    ..Verb::PLAIN
};
