//! What the supervisor has to know of a container's log: its options, and what the container is
//! called in its records.

use std::{collections::BTreeMap, sync::Arc};

use gotmpl::{MissingKey, Template, Value};

use crate::model::{
    Error, Result,
    container::ContainerRecord,
    image::ImageConfig,
    log::{LogDriver, LogPlan},
};

pub(super) fn log_plan(record: &ContainerRecord, image: &ImageConfig) -> Result<LogPlan> {
    let logging = &record.spec.logging;
    let tag = match logging.options.get("tag") {
        Some(template) if !template.is_empty() => Some(tag(template, record)?),
        _ => None,
    };
    let mut attributes = BTreeMap::new();
    let chooses = |name: &str| ["labels", "env"].iter().any(|kind| name.starts_with(kind));
    if logging.options.keys().any(|name| chooses(name)) {
        let defaults = image.config.as_ref();
        let mut labels = defaults
            .and_then(|config| config.labels.clone())
            .unwrap_or_default();
        labels.extend(record.spec.labels.clone());
        let mut variables = defaults
            .and_then(|config| config.env.clone())
            .unwrap_or_default();
        variables.extend(record.spec.env.clone());
        attributes = logging.attributes(&labels.into_iter().collect(), &variables)?;
    }
    let mut fields = BTreeMap::new();
    if logging.driver == LogDriver::Journald {
        let name = tag.as_deref().unwrap_or(record.id.short());
        let own = [
            ("CONTAINER_ID", record.id.short()),
            ("CONTAINER_ID_FULL", record.id.as_str()),
            ("CONTAINER_NAME", &record.name),
            ("CONTAINER_TAG", name),
            ("SYSLOG_IDENTIFIER", name),
            ("IMAGE_NAME", &record.spec.image),
        ];
        fields.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
    } else if let Some(tag) = tag {
        attributes.insert("tag".to_owned(), tag);
    }
    Ok(LogPlan {
        driver: logging.driver,
        limits: logging.limits()?,
        path: logging.options.get("path").cloned(),
        attributes,
        fields,
        buffer: logging.buffer()?,
    })
}

/// `--log-opt tag=`: a template over what Docker tells it of a container.
fn tag(template: &str, record: &ContainerRecord) -> Result<String> {
    let failed = |why: String| {
        Error::invalid(format!(
            "failed to initialize logging driver: log opt tag: {why}"
        ))
    };
    let image = record.image_id.as_ref().map_or("", |id| id.as_str());
    let bare = image.strip_prefix("sha256:").unwrap_or(image);
    let command = [std::slice::from_ref(&record.path), &record.args].concat();
    let facts = [
        ("ID", record.id.short().to_owned()),
        ("FullID", record.id.as_str().to_owned()),
        ("Name", record.name.clone()),
        ("ImageID", bare[..bare.len().min(12)].to_owned()),
        ("ImageFullID", image.to_owned()),
        ("ImageName", record.spec.image.clone()),
        ("Command", command.join(" ")),
        ("DaemonName", "coracle".to_owned()),
    ];
    let facts: BTreeMap<Arc<str>, Value> = facts
        .into_iter()
        .map(|(name, value)| (Arc::from(name), Value::String(Arc::from(value))))
        .collect();
    Template::new("log-tag")
        .missing_key(MissingKey::Error)
        .parse(template)
        .and_then(|template| template.execute_to_string(&Value::Map(Arc::new(facts))))
        .map_err(|error| failed(error.to_string()))
}
