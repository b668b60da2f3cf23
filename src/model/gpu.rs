//! `--gpus`: a number of GPUs, or certain ones, by way of the CDI devices of their vendor.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Error, Result, mount::split_csv};

/// Docker's DeviceRequest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuRequest {
    /// Empty is whichever knows GPUs.
    pub driver: String,
    /// -1 is all of them; 0 with `devices`.
    pub count: i64,
    /// Numbers or UUIDs.
    pub devices: Vec<String>,
    pub capabilities: Vec<String>,
    pub options: BTreeMap<String, String>,
}

impl GpuRequest {
    /// `all`, `2`, or a CSV record of `driver=`, `count=`, `device=`, `capabilities=` and
    /// `options=`, in which lists are quoted: `"device=0,1",capabilities=utility`.
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = |why: String| {
            Error::invalid(format!("invalid argument {text:?} for \"--gpus\": {why}"))
        };
        let mut request = GpuRequest::default();
        let mut seen: Vec<String> = Vec::new();
        for field in split_csv(text).map_err(|why| invalid(why.to_owned()))? {
            let (key, value) = field.split_once('=').unwrap_or(("count", &field));
            if seen.iter().any(|other| other == key) {
                return Err(invalid(format!(
                    "gpu request key '{key}' can be specified only once"
                )));
            }
            seen.push(key.to_owned());
            let list = || -> Vec<String> { value.split(',').map(str::to_owned).collect() };
            match key {
                "driver" => value.clone_into(&mut request.driver),
                "count" => request.count = count(value).map_err(invalid)?,
                "device" => request.devices = list(),
                "capabilities" => request.capabilities = list(),
                "options" => {
                    let options = split_csv(value).map_err(|why| invalid(why.to_owned()))?;
                    request.options = options.iter().map(|option| key_value(option)).collect();
                }
                _ => return Err(invalid(format!("unexpected key '{key}' in '{field}'"))),
            }
        }
        if request.devices.is_empty() && !seen.iter().any(|key| key == "count") {
            request.count = 1;
        }
        if !request.devices.is_empty() && request.count != 0 {
            return Err(invalid("cannot set both count and device".to_owned()));
        }
        request.capabilities.push("gpu".to_owned());
        Ok(request)
    }

    /// Docker's words when there is nothing that could serve the request.
    pub fn not_served(&self) -> Error {
        Error::new(
            super::ErrorKind::Unsupported,
            format!(
                "could not select device driver \"{}\" with capabilities: [[{}]]",
                self.driver,
                self.capabilities.join(" ")
            ),
        )
        .with_hint(
            "GPUs come from CDI specifications in /etc/cdi or /var/run/cdi: sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml",
        )
    }
}

fn count(text: &str) -> Result<i64, String> {
    match text {
        "all" => Ok(-1),
        _ => match text.parse() {
            Ok(count) if count >= -1 => Ok(count),
            _ => Err(format!(
                "invalid count ({text}): value must be either \"all\" or an integer"
            )),
        },
    }
}

fn key_value(option: &str) -> (String, String) {
    let (key, value) = option.split_once('=').unwrap_or((option, ""));
    (key.to_owned(), value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_numbers_or_records() {
        let parse = |text| GpuRequest::parse(text).unwrap();
        assert_eq!(parse("all").count, -1);
        assert_eq!(parse("2").count, 2);
        assert_eq!(parse("driver=nvidia").count, 1);
        let two = parse("\"device=0,1\",\"capabilities=utility,compute\",driver=nvidia");
        assert_eq!(two.devices, ["0", "1"]);
        assert_eq!(two.count, 0);
        assert_eq!(two.capabilities, ["utility", "compute", "gpu"]);
        let options = parse("count=1,\"options=a=b,c=d\"").options;
        assert_eq!(options["a"], "b");
        assert_eq!(options["c"], "d");
        for text in [
            "count=x",
            "-2",
            "1,2",
            "device=0,count=2",
            "what=1",
            "driver=a,driver=b",
        ] {
            assert!(GpuRequest::parse(text).is_err(), "{text}");
        }
    }
}
