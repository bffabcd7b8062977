//! Kubeconfig files with an embedded client certificate.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::authority::{Authority, Pair, Subject};
use super::files;
use crate::error::ServerError;

/// Writes `data_dir/admin.kubeconfig` (mode 0600) for the administrator and returns its text.
///
/// # Errors
/// When the pki or the file can't be read or written.
pub fn admin_kubeconfig(data_dir: &Path, server_url: &str) -> Result<String, ServerError> {
    let authority = Authority::open(data_dir)?;
    let subject = Subject { user: "everynode-admin".into(), groups: vec!["system:masters".into()] };
    let pair = authority.client("admin", &subject)?;
    let text = render("everynode-admin", server_url, authority.pem(), &pair);
    let path = data_dir.join("admin.kubeconfig");
    if files::read(&path)?.as_deref() != Some(&text) {
        files::write(&path, &text, 0o600)?;
    }
    Ok(text)
}

/// A kubeconfig for the agent of `node_name`: it speaks as `system:node:NAME` and is stored nowhere.
///
/// # Errors
/// When the pki can't be read or written.
pub fn node_kubeconfig(data_dir: &Path, node_name: &str, server_url: &str) -> Result<String, ServerError> {
    let authority = Authority::open(data_dir)?;
    let user = format!("system:node:{node_name}");
    let pair = authority.client_once(&Subject { user: user.clone(), groups: vec!["system:nodes".into()] })?;
    Ok(render(&user, server_url, authority.pem(), &pair))
}

fn render(user: &str, server_url: &str, authority_pem: &str, pair: &Pair) -> String {
    let (ca, cert, key) =
        (STANDARD.encode(authority_pem), STANDARD.encode(&pair.certificate_pem), STANDARD.encode(&pair.key_pem));
    format!(
        r#"apiVersion: v1
kind: Config
clusters:
- name: everynode
  cluster:
    server: "{server_url}"
    certificate-authority-data: {ca}
contexts:
- name: everynode
  context:
    cluster: everynode
    user: "{user}"
current-context: everynode
users:
- name: "{user}"
  user:
    client-certificate-data: {cert}
    client-key-data: {key}
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_admin_file_is_private_and_stays_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let first = admin_kubeconfig(dir.path(), "https://127.0.0.1:6443").unwrap();
        let again = admin_kubeconfig(dir.path(), "https://127.0.0.1:6443").unwrap();
        assert_eq!(first, again);
        let mode = std::fs::metadata(dir.path().join("admin.kubeconfig")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_node_file_names_its_node() {
        let dir = tempfile::tempdir().unwrap();
        let text = node_kubeconfig(dir.path(), "node-1", "https://127.0.0.1:6443").unwrap();
        assert!(text.contains("system:node:node-1"));
    }
}
