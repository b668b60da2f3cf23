//! `--cache-from` and `--cache-to`: `type=TYPE,KEY=VALUE,…`, or a reference.

use std::collections::BTreeMap;

use super::{csv_pairs::Pairs, ui};
use crate::{
    build::request::{CacheMode, CacheSource, CacheTarget, CacheWrap, StepCacheTarget},
    model::{Error, ErrorKind, Reference, Result},
};

const DEFAULT_TAG: &str = "latest";

/// Without a comma or `=` it is a reference; several of those may stand in one value.
pub fn sources(texts: &[String]) -> Result<Vec<CacheSource>> {
    let mut sources = Vec::new();
    for text in texts {
        if !text.contains('=') {
            for reference in text.split(',').filter(|reference| !reference.is_empty()) {
                sources.push(CacheSource::Registry(reference.parse()?));
            }
            continue;
        }
        sources.extend(source(text)?);
    }
    Ok(sources)
}

/// None for a place that only other builders know: there it is not needed for a right result.
fn source(text: &str) -> Result<Option<CacheSource>> {
    let mut pairs = Pairs::parse("cache-from", text)?;
    let source = match kind(&mut pairs, "cache-from")?.as_str() {
        "local" => CacheSource::Local {
            path: required(&mut pairs, "src", "cache-from")?.into(),
            tag: pairs.take("tag").unwrap_or_else(|| DEFAULT_TAG.to_owned()),
            digest: pairs
                .take("digest")
                .map(|digest| digest.parse())
                .transpose()?,
        },
        "registry" => CacheSource::Registry(reference(&mut pairs, "cache-from")?),
        "inline" => {
            return Err(
                Error::invalid("a cache of type inline is read with its image")
                    .with_hint("--cache-from IMAGE"),
            );
        }
        other => {
            let error = elsewhere(other);
            if error.kind() != ErrorKind::Unsupported {
                return Err(error);
            }
            let hint = error.hint().unwrap_or_default();
            ui::notice(&format!("{} and not asked; {hint}", error.message()));
            return Ok(None);
        }
    };
    pairs.finish()?;
    Ok(Some(source))
}

/// `BUILDKIT_INLINE_CACHE=1` is `type=inline`.
pub fn targets(
    texts: &[String],
    build_args: &BTreeMap<String, String>,
) -> Result<Vec<CacheTarget>> {
    let mut targets: Vec<CacheTarget> = texts
        .iter()
        .map(|text| target(text))
        .collect::<Result<_>>()?;
    let inline = build_args.get("BUILDKIT_INLINE_CACHE").map(String::as_str);
    if matches!(inline, Some("1" | "true")) && !targets.contains(&CacheTarget::Inline) {
        targets.push(CacheTarget::Inline);
    }
    Ok(targets)
}

fn target(text: &str) -> Result<CacheTarget> {
    if !text.contains('=') {
        return Ok(CacheTarget::Place {
            place: StepCacheTarget::Registry(text.parse()?),
            mode: CacheMode::Min,
            wrap: CacheWrap::Manifest,
            ignore_error: false,
        });
    }
    let mut pairs = Pairs::parse("cache-to", text)?;
    let kind = kind(&mut pairs, "cache-to")?;
    let mode = match pairs.take("mode").as_deref() {
        None | Some("min") => CacheMode::Min,
        Some("max") => CacheMode::Max,
        Some(other) => return Err(Error::invalid(format!("invalid cache mode {other:?}"))),
    };
    let ignore_error = pairs.flag("ignore-error")?.unwrap_or(false);
    let wrap = wrap(&mut pairs)?;
    let place = match kind.as_str() {
        "inline" => None,
        "local" => Some(StepCacheTarget::Local {
            path: required(&mut pairs, "dest", "cache-to")?.into(),
            tag: pairs.take("tag").unwrap_or_else(|| DEFAULT_TAG.to_owned()),
        }),
        "registry" => Some(StepCacheTarget::Registry(reference(
            &mut pairs, "cache-to",
        )?)),
        other => return Err(elsewhere(other)),
    };
    packing(&mut pairs)?;
    pairs.finish()?;
    Ok(match place {
        None if mode == CacheMode::Max => {
            return Err(Error::invalid("a cache of type inline has mode=min")
                .with_hint("type=registry,mode=max keeps all stages"));
        }
        None => CacheTarget::Inline,
        Some(place) => CacheTarget::Place {
            place,
            mode,
            wrap,
            ignore_error,
        },
    })
}

fn wrap(pairs: &mut Pairs) -> Result<CacheWrap> {
    let is_manifest = pairs.flag("image-manifest")?;
    match (is_manifest, pairs.flag("oci-mediatypes")?) {
        (Some(true), Some(false)) => Err(Error::invalid(
            "invalid cache-to: image-manifest=true needs oci-mediatypes=true",
        )),
        (Some(true) | None, None | Some(true)) => Ok(CacheWrap::Manifest),
        (Some(false), None | Some(true)) => Ok(CacheWrap::Index),
        (_, Some(false)) => Ok(CacheWrap::DockerIndex),
    }
}

/// Layers go as they are in the store: what else is asked for is told of.
fn packing(pairs: &mut Pairs) -> Result<()> {
    match pairs.take("compression").as_deref() {
        None | Some("gzip") => {}
        Some(other @ ("uncompressed" | "estargz" | "zstd")) => ui::notice(&format!(
            "compression={other} has no effect: the layers of a cache are compressed with gzip"
        )),
        Some(other) => {
            return Err(Error::invalid(format!(
                "unsupported compression type {other:?}"
            )));
        }
    }
    if pairs.take("compression-level").is_some() {
        ui::notice("compression-level has no effect on a cache: its layers are those of the store");
    }
    pairs.flag("force-compression")?;
    Ok(())
}

fn kind(pairs: &mut Pairs, flag: &str) -> Result<String> {
    let missing = || Error::invalid(format!("type required form> \"type=value\" in {flag}"));
    pairs.take("type").ok_or_else(missing)
}

fn required(pairs: &mut Pairs, key: &str, flag: &str) -> Result<String> {
    let missing = || Error::invalid(format!("invalid {flag}: {key} is missing"));
    pairs
        .take(key)
        .filter(|value| !value.is_empty())
        .ok_or_else(missing)
}

fn reference(pairs: &mut Pairs, flag: &str) -> Result<Reference> {
    required(pairs, "ref", flag)?.parse()
}

fn elsewhere(kind: &str) -> Error {
    match kind {
        "gha" | "s3" | "azblob" => Error::new(
            ErrorKind::Unsupported,
            format!("a cache of type {kind} is not supported"),
        )
        .with_hint("there are registry, local and inline"),
        _ => Error::invalid(format!("unknown cache type {kind:?}"))
            .with_hint("there are registry, local and inline"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches() {
        let texts = [
            "a/b,c".to_owned(),
            "type=registry,ref=d:1".to_owned(),
            "type=local,src=x,tag=t".to_owned(),
        ];
        let found = sources(&texts).unwrap();
        assert_eq!(found.len(), 4);
        assert!(matches!(&found[3], CacheSource::Local { tag, .. } if tag == "t"));
        let texts = [
            "type=inline".to_owned(),
            "type=local,dest=x,mode=max".to_owned(),
            "x:1".to_owned(),
            "type=registry,ref=x,image-manifest=false".to_owned(),
        ];
        let args = BTreeMap::from([("BUILDKIT_INLINE_CACHE".to_owned(), "1".to_owned())]);
        let found = targets(&texts, &args).unwrap();
        assert_eq!(found.len(), 4);
        assert_eq!(targets(&[], &args).unwrap(), [CacheTarget::Inline]);
        assert!(matches!(
            &found[3],
            CacheTarget::Place {
                wrap: CacheWrap::Index,
                ..
            }
        ));
        assert_eq!(found[0], CacheTarget::Inline);
        assert!(matches!(
            &found[1],
            CacheTarget::Place {
                mode: CacheMode::Max,
                ..
            }
        ));
        for text in [
            "type=what",
            "ref=a",
            "type=local",
            "type=registry,ref=a,what=b",
            "type=local,dest=a,mode=x",
            "type=inline,mode=max",
        ] {
            assert!(target(text).is_err(), "{text}");
            assert!(source(text).is_err(), "{text}");
        }
        target("type=gha").unwrap_err();
        target("type=registry,ref=a,image-manifest=true,oci-mediatypes=false").unwrap_err();
        target("type=registry,ref=a,compression=x").unwrap_err();
    }
}
