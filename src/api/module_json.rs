//! Modules in requests and responses: `{"key", "type", "data"}`.

use serde_json::{Map, Value, json};

use super::error::ApiError;
use crate::domain::ModuleKey;
use crate::registry::{
    ModuleRecord, ModuleSpec, Problem, RegisterError, RegisteredModule, RegistrationApi, code,
    key_problem,
};

/// Renders a module.
pub(super) fn module_view(module: &ModuleRecord) -> Value {
    json!({"key": module.key, "type": module.module_type, "data": module.data})
}

/// Renders a module with `warnings` and the `complexity` of its filters, if there are any.
pub(super) fn registered_view(registered: &RegisteredModule) -> Value {
    let RegisteredModule { module, warnings, complexity } = registered;
    let mut body = module_view(module);
    if let Value::Object(body) = &mut body {
        if !warnings.is_empty() {
            body.insert("warnings".into(), json!(warnings));
        }
        if !complexity.is_empty() {
            body.insert("complexity".into(), json!(complexity));
        }
    }
    body
}

/// A module as parsed from a request body.
pub(crate) struct ModuleBody {
    pub(super) key: Option<Value>,
    module_type: String,
    data: Map<String, Value>,
}

impl ModuleBody {
    pub(crate) fn read(mut body: Map<String, Value>) -> Result<Self, ApiError> {
        let mut problems = Vec::new();
        let key = body.remove("key");
        let module_type = match body.remove("type") {
            Some(Value::String(module_type)) => Some(module_type),
            Some(_) => {
                problems.push(Problem::new(code::FORM, "type", "a module type is a string"));
                None
            }
            None => {
                problems.push(Problem::new(code::MISSING, "type", "a module has a type"));
                None
            }
        };
        let data = match body.remove("data") {
            Some(Value::Object(data)) => Some(data),
            Some(_) => {
                problems.push(Problem::new(code::FORM, "data", "module data is an object"));
                None
            }
            None => {
                problems.push(Problem::new(code::MISSING, "data", "a module has data"));
                None
            }
        };
        for name in body.keys() {
            let message = format!("there is no member `{name}` here");
            problems.push(
                Problem::new(code::UNKNOWN_MEMBER, name, message)
                    .with_help("known are key, type, data"),
            );
        }
        match (module_type, data) {
            (Some(module_type), Some(data)) if problems.is_empty() => {
                Ok(Self { key, module_type, data })
            }
            _ => Err(ApiError::Invalid(problems)),
        }
    }

    /// Returns the module of version 2, which must not carry a key.
    pub(crate) fn without_key(self) -> Result<ModuleSpec, ApiError> {
        for (path, given) in
            [("key", self.key.is_some()), ("data.key", self.data.contains_key("key"))]
        {
            if given {
                return Err(
                    Problem::new(code::KEY_GIVEN, path, "key is assigned by the server").into()
                );
            }
        }
        Ok(self.spec(RegistrationApi::ForgeV2))
    }

    /// Returns the module of version 1 with the key that the app assigned.
    pub(crate) fn keyed(self) -> Result<(ModuleSpec, ModuleKey), ApiError> {
        let key = parse_key(self.key.as_ref())?;
        let inside = self.data.get("key");
        if inside.is_some_and(|inside| inside.as_str() != Some(key.as_str())) {
            let message = format!("this differs from the key of the module, `{key}`");
            return Err(Problem::new(code::FORM, "data.key", message).into());
        }
        Ok((self.spec(RegistrationApi::ForgeV1), key))
    }

    /// Returns the module for an update of `key`; fails if the body names another key.
    pub(super) fn under(
        self,
        key: &ModuleKey,
        api: RegistrationApi,
    ) -> Result<ModuleSpec, ApiError> {
        let same = |given: &Value| given.as_str() == Some(key.as_str());
        if [self.key.as_ref(), self.data.get("key")].into_iter().flatten().all(same) {
            Ok(self.spec(api))
        } else {
            Err(RegisterError::KeyChanged.into())
        }
    }

    fn spec(self, api: RegistrationApi) -> ModuleSpec {
        let Self { module_type, data, .. } = self;
        ModuleSpec { module_type, data, api }
    }
}

/// Parses a module key, which must be present.
pub(super) fn parse_key(given: Option<&Value>) -> Result<ModuleKey, ApiError> {
    let Some(given) = given else {
        return Err(Problem::new(code::MISSING, "key", "a module has a key").into());
    };
    let key = given.as_str().unwrap_or_default();
    key_problem(key, "key").map_or_else(|| Ok(key.into()), |problem| Err(problem.into()))
}
