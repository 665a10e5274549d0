//! The HTTP probe: status, text and JSON members of one answer.

use serde_json::Value;
use tokio::time::Instant;

use super::{HttpExpect, HttpProbe, excerpt};
use crate::guest::Dialer;
use crate::guest::http::{HttpRequest, HttpResponse, exchange};

/// Asks once; the error says in words what was wrong.
pub(super) async fn check(probe: &HttpProbe, dialer: &dyn Dialer, deadline: Instant) -> Result<(), String> {
    let stream = dialer.dial(probe.port, deadline).await.map_err(|error| error.to_string())?;
    let request = HttpRequest::get(format!("localhost:{}", probe.port), probe.path.clone());
    let response = exchange(stream, request, deadline).await.map_err(|error| error.to_string())?;
    judge(&probe.expect, &response)
}

fn judge(expect: &HttpExpect, response: &HttpResponse) -> Result<(), String> {
    let text = String::from_utf8_lossy(&response.body);
    if response.status != expect.status {
        let body = excerpt(&text);
        let said = if body.is_empty() { String::new() } else { format!(" (`{body}`)") };
        return Err(format!("status {}, expected {}{said}", response.status, expect.status));
    }
    if let Some(part) = &expect.contains
        && !text.contains(part)
    {
        return Err(format!("the body is `{}`, expected it to contain `{part}`", excerpt(&text)));
    }
    if expect.json.is_empty() && expect.numbers.is_empty() {
        return Ok(());
    }
    let body: Value = serde_json::from_slice(&response.body)
        .map_err(|_| format!("the body is `{}`, expected JSON", excerpt(&text)))?;
    let member = |key: &str| match key.starts_with('/') {
        true => body.pointer(key),
        false => body.get(key),
    };
    for (key, wanted) in &expect.json {
        match member(key) {
            Some(found) if found == wanted => {}
            Some(found) => {
                return Err(format!("`{key}` is {}, expected {wanted}", excerpt(&found.to_string())));
            }
            None => return Err(format!("`{key}` is missing, expected {wanted}")),
        }
    }
    for (key, limits) in &expect.numbers {
        match member(key) {
            Some(found) => limits.judge_json(&format!("`{key}`"), found)?,
            None => return Err(format!("`{key}` is missing, expected a number {limits}")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(expect: &str, status: u16, body: &str) -> String {
        let expect: HttpExpect = serde_json::from_str(expect).unwrap();
        let response = HttpResponse { status, body: body.as_bytes().to_vec() };
        judge(&expect, &response).err().unwrap_or_default()
    }

    #[test]
    fn what_was_wrong_is_said_in_words() {
        assert_eq!(verdict("{}", 200, "anything"), "");
        assert_eq!(verdict("{}", 503, "no leader\n"), "status 503, expected 200 (`no leader`)");
        assert_eq!(
            verdict(r#"{"contains":"yes"}"#, 200, "no"),
            "the body is `no`, expected it to contain `yes`"
        );
        let healthy = r#"{"json":{"health":"true"}}"#;
        assert_eq!(verdict(healthy, 200, r#"{"health":"true"}"#), "");
        assert_eq!(verdict(healthy, 200, r#"{"health":true}"#), r#"`health` is true, expected "true""#);
        assert_eq!(verdict(healthy, 200, "{}"), r#"`health` is missing, expected "true""#);
        assert_eq!(verdict(healthy, 200, "<html>"), "the body is `<html>`, expected JSON");
        assert_eq!(verdict(r#"{"json":{"/a/0/b":1}}"#, 200, r#"{"a":[{"b":1}]}"#), "");
        let near = r#"{"numbers":{"/lag":{"at_most":5}}}"#;
        assert_eq!(verdict(near, 200, r#"{"lag":"5"}"#), "");
        assert_eq!(verdict(near, 200, r#"{"lag":6}"#), "`/lag` is 6, expected a number of at most 5");
        assert_eq!(verdict(near, 200, r#"{"lag":null}"#), "`/lag` is `null`, expected a number of at most 5");
        assert_eq!(verdict(near, 200, "{}"), "`/lag` is missing, expected a number of at most 5");
    }
}
