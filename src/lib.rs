//! Switchyard sends Jira events only to the apps that asked for them.
