//! `--output`: `type=TYPE,KEY=VALUE,…`, a folder, or `-`.

use std::path::PathBuf;

use super::{csv_pairs::Pairs, failure::Failure, ui};
use crate::{
    build::{
        export::{ImageOutput, LocalOutput, Output, Target},
        request::{Annotation, AnnotationLevel},
    },
    model::{
        Error, Result,
        manifest::{Compression, Format},
    },
};

/// What an output says beyond itself.
#[derive(Debug, Default)]
pub struct Asides {
    pub annotations: Vec<Annotation>,
    pub rewrite_timestamps: bool,
}

pub fn parse(text: &str, asides: &mut Asides) -> std::result::Result<Output, Failure> {
    if !text.contains(['=', ',']) {
        return match text {
            "-" => Ok(Output::Tar(stream("tar")?)),
            folder => Ok(Output::Local(LocalOutput {
                path: folder.into(),
                platform_split: None,
                delete: false,
            })),
        };
    }
    let mut pairs = Pairs::parse("output", text)?;
    let kind = pairs.take("type").ok_or_else(|| {
        Error::invalid(format!(
            "invalid output {text:?}: type is required for output"
        ))
    })?;
    let output = match kind.as_str() {
        "local" => local(&mut pairs)?,
        "tar" => Output::Tar(target("tar", &mut pairs)?),
        "oci" => archive(Format::Oci, &mut pairs, asides)?,
        "docker" if pairs.has("dest") => archive(Format::Docker, &mut pairs, asides)?,
        "image" | "registry" | "docker" => {
            let mut image = image(&mut pairs, asides)?;
            image.push |= kind == "registry";
            Output::Image(image)
        }
        "cacheonly" => Output::CacheOnly,
        other => {
            return Err(
                Error::invalid(format!("invalid output: unknown type {other:?}"))
                    .with_hint("there are local, tar, oci, docker, image, registry and cacheonly")
                    .into(),
            );
        }
    };
    pairs.finish()?;
    Ok(output)
}

fn local(pairs: &mut Pairs) -> Result<Output> {
    let path = pairs
        .take("dest")
        .ok_or_else(|| Error::invalid("dest is required for local exporter"))?;
    let delete = match pairs.take("mode").as_deref() {
        None | Some("copy") => false,
        Some("delete") => true,
        Some(other) => {
            return Err(Error::invalid(format!(
                "invalid mode {other:?} of an output"
            )));
        }
    };
    Ok(Output::Local(LocalOutput {
        path: path.into(),
        platform_split: pairs.flag("platform-split")?,
        delete,
    }))
}

fn archive(
    format: Format,
    pairs: &mut Pairs,
    asides: &mut Asides,
) -> std::result::Result<Output, Failure> {
    let name = if format == Format::Oci {
        "oci"
    } else {
        "docker"
    };
    let folder = pairs.flag("tar")? == Some(false);
    let target = match (folder, pairs.take("dest")) {
        (true, Some(path)) => Target::Folder(path.into()),
        (true, None) => {
            return Err(Error::invalid("dest is required for an output that is no archive").into());
        }
        (false, path) => file_or_stream(name, path)?,
    };
    // Archives have the layers as they are in the store.
    image(pairs, asides)?;
    Ok(Output::Archive { format, target })
}

fn target(name: &str, pairs: &mut Pairs) -> std::result::Result<Target, Failure> {
    let path = pairs.take("dest");
    file_or_stream(name, path)
}

fn file_or_stream(name: &str, path: Option<String>) -> std::result::Result<Target, Failure> {
    match path.as_deref() {
        None | Some("-") => stream(name),
        Some(path) => Ok(Target::File(PathBuf::from(path))),
    }
}

fn stream(name: &str) -> std::result::Result<Target, Failure> {
    if ui::stdout_is_terminal() {
        let text =
            format!("dest file is required for {name} exporter. refusing to write to console");
        return Err(Failure::Plain(text, 1));
    }
    Ok(Target::Stream(ui::output_file()?))
}

fn image(pairs: &mut Pairs, asides: &mut Asides) -> Result<ImageOutput> {
    let names = pairs.take("name").unwrap_or_default();
    let names = names.split(',').filter(|name| !name.is_empty());
    let compression = match pairs.take("compression").as_deref() {
        None => None,
        Some("gzip") => Some(Compression::Gzip),
        Some("zstd") => Some(Compression::Zstd),
        Some(other) => {
            return Err(
                Error::invalid(format!("unsupported layer compression type {other:?}"))
                    .with_hint("there are gzip and zstd"),
            );
        }
    };
    let format = pairs.flag("oci-mediatypes")?;
    let level = pairs.take("compression-level");
    let level = level.map(|text| {
        text.parse()
            .map_err(|_| Error::invalid(format!("invalid compression level {text:?}")))
    });
    asides.rewrite_timestamps |= pairs.flag("rewrite-timestamp")?.unwrap_or(false);
    for (key, value) in pairs.take_with_prefix("annotation") {
        asides.annotations.push(annotation(&key, value)?);
    }
    // These say how BuildKit keeps images, which is done in one way here.
    for key in [
        "unpack",
        "dangling-name-prefix",
        "name-canonical",
        "danglingname",
    ] {
        pairs.take(key);
    }
    Ok(ImageOutput {
        names: names.map(str::parse).collect::<Result<_>>()?,
        push: pairs.flag("push")?.unwrap_or(false),
        push_by_digest: pairs.flag("push-by-digest")?.unwrap_or(false),
        not_kept: pairs.flag("store")? == Some(false),
        format: format.map(|oci| if oci { Format::Oci } else { Format::Docker }),
        compression,
        compression_level: level.transpose()?,
        force_compression: pairs.flag("force-compression")?.unwrap_or(false),
    })
}

/// `annotation[-LEVEL][[PLATFORM]].KEY`, the first word taken off.
fn annotation(rest: &str, value: String) -> Result<Annotation> {
    let bad = || Error::invalid(format!("invalid annotation{rest} in an output"));
    let (level, key) = rest.split_once('.').ok_or_else(bad)?;
    let (level, platform) = match level.split_once('[') {
        Some((level, platform)) => {
            let platform = platform.strip_suffix(']').ok_or_else(bad)?;
            (level, Some(platform.parse()?))
        }
        None => (level, None),
    };
    let level = match level {
        "" | "-manifest" => AnnotationLevel::Manifest,
        "-index" => AnnotationLevel::Index,
        "-manifest-descriptor" => AnnotationLevel::ManifestDescriptor,
        "-index-descriptor" => AnnotationLevel::IndexDescriptor,
        _ => return Err(bad()),
    };
    Ok(Annotation {
        level,
        platform,
        key: key.to_owned(),
        value,
    })
}

/// `--annotation [LEVEL[[PLATFORM]][,LEVEL…]:]KEY=VALUE`
pub fn parse_annotation(text: &str) -> Result<Vec<Annotation>> {
    let bad = || Error::invalid(format!("invalid annotation {text:?}, expected key=value"));
    let (name, value) = text.split_once('=').ok_or_else(bad)?;
    let (levels, key) = match name.split_once(':') {
        Some((levels, key)) if levels.starts_with("manifest") || levels.starts_with("index") => {
            (levels, key)
        }
        _ => ("manifest", name),
    };
    if key.is_empty() {
        return Err(bad());
    }
    let each = levels.split(',').map(|level| {
        let rest = format!("-{level}.{key}");
        annotation(&rest, value.to_owned()).map_err(|_| bad())
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Output {
        parse(text, &mut Asides::default()).unwrap_or_else(|_| panic!("{text}"))
    }

    #[test]
    fn outputs() {
        assert!(
            matches!(parsed("out"), Output::Local(LocalOutput { path, .. }) if path.as_os_str() == "out")
        );
        assert!(matches!(
            parsed("type=local,dest=a,mode=delete"),
            Output::Local(LocalOutput { delete: true, .. })
        ));
        assert!(matches!(
            parsed("type=tar,dest=a.tar"),
            Output::Tar(Target::File(_))
        ));
        assert!(matches!(
            parsed("type=oci,dest=a,tar=false"),
            Output::Archive {
                format: Format::Oci,
                target: Target::Folder(_)
            }
        ));
        let Output::Image(image) =
            parsed("type=registry,\"name=a:1,b\",compression=zstd,oci-mediatypes=true")
        else {
            panic!("an image")
        };
        assert!(image.push);
        assert_eq!(image.names.len(), 2);
        assert_eq!(image.compression, Some(Compression::Zstd));
        assert_eq!(image.format, Some(Format::Oci));
        for text in [
            "dest=a",
            "type=what",
            "type=local",
            "type=local,dest=a,x=y",
            "type=image,push=maybe",
        ] {
            assert!(parse(text, &mut Asides::default()).is_err(), "{text}");
        }
    }

    #[test]
    fn annotations() {
        let one = parse_annotation("a.b/c=d=e").unwrap();
        assert_eq!(
            (one[0].key.as_str(), one[0].value.as_str()),
            ("a.b/c", "d=e")
        );
        let two = parse_annotation("index,manifest[linux/arm64]:k=v").unwrap();
        assert_eq!(two[0].level, AnnotationLevel::Index);
        assert_eq!(two[1].platform.as_ref().unwrap().architecture, "arm64");
        assert!(parse_annotation("k").is_err());
        assert!(parse_annotation("index,what:k=v").is_err());
        let mut asides = Asides::default();
        let _ = parse(
            "type=image,name=x,annotation.k=v,annotation-index.i=w,rewrite-timestamp=true",
            &mut asides,
        );
        assert_eq!(asides.annotations.len(), 2);
        assert!(asides.rewrite_timestamps);
    }
}
