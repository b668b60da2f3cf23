//! `--secret` and `--ssh`: what steps may use and never keep.

use std::{collections::BTreeMap, fs::File, io::Read, path::PathBuf};

use super::{csv_pairs::Pairs, env};
use crate::{
    build::{
        request::{MAX_SECRET_BYTES, Secret},
        ssh::Agent,
    },
    model::{Context, Error, ErrorKind, Result},
};

pub fn secrets(texts: &[String]) -> Result<BTreeMap<String, Secret>> {
    texts.iter().map(|text| secret(text)).collect()
}

/// `id=ID[,src=FILE|,env=NAME][,type=file|env]`
fn secret(text: &str) -> Result<(String, Secret)> {
    let mut pairs = Pairs::parse("secret", text)?;
    let id = pairs.take("id");
    let id = id.filter(|id| !id.is_empty());
    let id =
        id.ok_or_else(|| Error::invalid(format!("invalid secret {text:?}: secret missing ID")))?;
    let short = pairs.take("src");
    let source = pairs
        .take("source")
        .or(short)
        .filter(|path| !path.is_empty());
    let variable = pairs.take("env").filter(|name| !name.is_empty());
    let (file, variable) = match pairs.take("type").as_deref() {
        None => (source, variable),
        Some("file") => (source.or_else(|| Some(id.clone())), None),
        Some("env") => (None, variable.or(source).or_else(|| Some(id.clone()))),
        Some(other) => return Err(Error::invalid(format!("unsupported secret type {other:?}"))),
    };
    pairs.finish()?;
    let bytes = match (file, variable) {
        // A variable of this name, or else a file.
        (None, None) => match env::forwarded(&id) {
            Some(value) => value.into_bytes(),
            None => read(&id, &id)?,
        },
        (_, Some(name)) => env::forwarded(&name).unwrap_or_default().into_bytes(),
        (Some(file), None) => read(&id, &file)?,
    };
    Ok((id, Secret(bytes)))
}

fn read(id: &str, file: &str) -> Result<Vec<u8>> {
    let what = || format!("failed to read the secret {id:?} from {file}");
    let mut bytes = Vec::new();
    let opened = File::open(file).context(ErrorKind::InvalidArgument, what)?;
    let mut limited = opened.take(MAX_SECRET_BYTES + 1);
    limited
        .read_to_end(&mut bytes)
        .context(ErrorKind::InvalidArgument, what)?;
    if bytes.len() as u64 > MAX_SECRET_BYTES {
        return Err(Error::invalid(format!(
            "secret {id} too big. max size 500KB"
        )));
    }
    Ok(bytes)
}

/// `default` or `ID[=SOCKET|=KEY[,KEY…]]`
pub fn agents(texts: &[String]) -> Result<BTreeMap<String, Agent>> {
    texts.iter().map(|text| agent(text)).collect()
}

fn agent(text: &str) -> Result<(String, Agent)> {
    let (id, paths) = match text.split_once('=') {
        Some((id, paths)) => (id, paths.split(',').map(PathBuf::from).collect()),
        None => (text, env::ssh_agent().into_iter().collect::<Vec<_>>()),
    };
    let id = if id.is_empty() { "default" } else { id };
    if paths.iter().all(|path| path.as_os_str().is_empty()) {
        return Err(Error::invalid(
            "invalid empty ssh agent socket, make sure SSH_AUTH_SOCK is set",
        ));
    }
    Ok((id.to_owned(), Agent::open(&paths)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, "word").unwrap();
        let path = path.to_str().unwrap();
        for text in [
            format!("id=a,src={path}"),
            format!("type=file,id=a,source={path}"),
        ] {
            let (id, secret) = secret(&text).unwrap();
            assert_eq!((id.as_str(), secret), ("a", Secret(b"word".to_vec())));
        }
        std::fs::write(path, vec![b'x'; 600 << 10]).unwrap();
        assert!(
            secret(&format!("id=a,src={path}"))
                .unwrap_err()
                .message()
                .contains("too big")
        );
    }

    #[test]
    fn no_secrets() {
        for text in [
            "",
            "a",
            "src=/etc/passwd",
            "id=a,src=/no/such",
            "id=a,what=b",
            "id=a,type=x",
        ] {
            assert!(secret(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_no_agent() {
        let error = agent("default=/etc/passwd").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(agent("x=/no/such").is_err());
        assert!(agent("x=").is_err());
    }
}
