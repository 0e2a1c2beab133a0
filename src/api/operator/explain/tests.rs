//! Requests without a broker: what is refused, and what is said if nothing is found.

use axum::http::StatusCode;
use serde_json::json;

use crate::api::testing::{TestApi, message};

const PATH: &str = "/admin/v1/explain";

#[tokio::test]
async fn request_names_subscriptions_and_one_kind_of_events() {
    let api = TestApi::start().await;
    for (body, said) in [
        (json!({}), "one of `entity`"),
        (json!({"installation": "inst-a"}), "one of `entity`"),
        (json!({"installation": "inst-a", "entity": "A-1", "event": "e"}), "one of `entity`"),
        (json!({"installation": "inst-a", "sequence": 1, "since": "1h"}), "one of `entity`"),
        (json!({"entity": "A-1"}), "name a subscription"),
        (json!({"installation": "none", "entity": "A-1"}), "no such installation"),
        (json!({"installation": "inst-a", "subscription": "inst-a/k", "entity": "A-1"}), "either"),
        (json!({"subscription": "k", "entity": "A-1"}), "<installation>/<key>"),
        (json!({"installation": "inst-a", "entity": "A-1", "since": "soon"}), "an age"),
        (json!({"installation": "inst-a", "entity": "A-1", "limit": 51}), "1 to 50"),
        (json!({"installation": "inst-a", "entity": "A-1", "colour": 1}), "colour"),
    ] {
        let answer = api.admin("POST", PATH, body.clone()).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
        assert!(message(&answer).contains(said), "{body}: {}", answer.body);
    }
}

#[tokio::test]
async fn nothing_found_is_an_answer() {
    let api = TestApi::start().await;
    let bodies = [
        (json!({"installation": "inst-a", "entity": "A-1"}), "no event for A-1 on site"),
        (json!({"site": "s", "event": "e"}), "no event with the id e on site s"),
        (json!({"event": "s/e"}), "no installation is at site s"),
        (json!({"site": "s", "since": "1h"}), "no event on site s since"),
        (json!({"sequence": 7}), "no event with sequence 7 is stored"),
    ];
    for (body, said) in bodies {
        let answer = api.admin("POST", PATH, body.clone()).await;
        assert_eq!(answer.status, StatusCode::OK, "{body}: {}", answer.body);
        assert_eq!(answer.body["events"], json!([]));
        assert!(answer.body["hints"].to_string().contains(said), "{body}: {}", answer.body);
    }
}
