//! Cuts what handlers said out of a record of the delivery log. Pure.

use bytes::Bytes;
use serde_json::Value;

use super::needle::Needle;

/// Members of a delivery that have texts of handlers.
const TEXTS: [&str; 2] = ["response", "detail"];
/// Member of a copy: when the original was stored.
const RECORDED_MS: &str = "recorded_ms";

/// Returns the record, stored at `stored_ms`, without the texts of handlers that name an account; none if
/// it names the account elsewhere, or cannot be read.
pub(super) fn without_texts(record: &[u8], account: &Needle, stored_ms: i64) -> Option<Bytes> {
    let mut value: Value = serde_json::from_slice(record).ok()?;
    // The copy is stored later than what it describes.
    let members = value.as_object_mut()?;
    members.entry(RECORDED_MS).or_insert_with(|| stored_ms.into());
    for delivery in value.get_mut("deliveries")?.as_array_mut()? {
        let members = delivery.as_object_mut()?;
        for name in TEXTS {
            let text = members.get(name).map(Value::to_string).unwrap_or_default();
            if account.is_in(text.as_bytes()) {
                members.remove(name);
            }
        }
    }
    let cut = value.to_string();
    (!account.is_in(cut.as_bytes())).then(|| cut.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cut(record: &Value) -> Option<Value> {
        let cut = without_texts(record.to_string().as_bytes(), &Needle::new("5b10ac8d82e0"), 7)?;
        Some(serde_json::from_slice(&cut).unwrap())
    }

    #[test]
    fn texts_that_name_the_account_are_cut_and_others_stay() {
        let named = json!({"body": r#"{"accountId":"5b10ac8d82e0"}"#});
        let record = json!({"v": 1, "event": {"id": "e"}, "later": [1], "deliveries": [
            {"key": "a", "response": named, "detail": "of 5b10ac8d82e0"},
            {"key": "b", "response": {"body": "no"}, "detail": "status 500"}]});
        let expected = json!({"v": 1, "recorded_ms": 7, "event": {"id": "e"}, "later": [1], "deliveries": [
            {"key": "a"}, {"key": "b", "response": {"body": "no"}, "detail": "status 500"}]});
        assert_eq!(cut(&record), Some(expected));
    }

    #[test]
    fn record_that_names_the_account_elsewhere_cannot_be_cut() {
        let of = |id: &str| json!({"event": {"id": id}, "deliveries": []});
        assert_eq!(cut(&of("user/5b10ac8d82e0")), None);
        assert_eq!(cut(&json!({"deliveries": 1})), None);
        assert_eq!(without_texts(b"{", &Needle::new("5b10ac8d82e0"), 7), None);
    }
}
