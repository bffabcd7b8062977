//! Who a container runs as: user and group names looked up in the container's own /etc/passwd and /etc/group.
//!
//! # Invariants
//! - Only texts come in: the caller reads the files inside the container's root, so that a link in an image can't lead
//!   to the node's files, and no name service of the node or of the image is asked.
//! - The primary group is always among the additional groups, so that a denied group stays denied to its members.

use super::files::UserChoice;

/// A resolved user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) home: String,
}

struct PasswdLine<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

/// Resolves `choice` against the texts of /etc/passwd and /etc/group (empty when absent).
///
/// # Errors
/// A text for people when a name is not in them.
pub(crate) fn resolve(choice: &UserChoice, passwd: &str, group: &str) -> Result<User, String> {
    let (image_user, image_group) = match choice.image.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (choice.image.as_str(), None),
    };
    let (uid, entry) = match choice.uid {
        Some(uid) => (uid, by_uid(passwd, uid)),
        None if image_user.is_empty() => (0, by_uid(passwd, 0)),
        None => match image_user.parse::<u32>() {
            Ok(uid) => (uid, by_uid(passwd, uid)),
            Err(_) => {
                let entry = passwd_lines(passwd)
                    .find(|line| line.name == image_user)
                    .ok_or_else(|| format!("unable to find user {image_user}: no matching entries in passwd file"))?;
                (entry.uid, Some(entry))
            }
        },
    };
    let image_group = image_group.filter(|name| choice.uid.is_none() && !name.is_empty());
    let gid = match (choice.gid, image_group) {
        (Some(gid), _) => gid,
        (None, Some(name)) => match name.parse::<u32>() {
            Ok(gid) => gid,
            Err(_) => group_lines(group)
                .find(|(group, ..)| *group == name)
                .map(|(_, gid, _)| gid)
                .ok_or_else(|| format!("unable to find group {name}: no matching entries in group file"))?,
        },
        (None, None) => entry.as_ref().map_or(0, |entry| entry.gid),
    };
    let mut groups = vec![gid];
    if let Some(entry) = entry.as_ref().filter(|_| !choice.strict) {
        groups.extend(
            group_lines(group)
                .filter(|(.., members)| members.split(',').any(|member| member == entry.name))
                .map(|(_, gid, _)| gid),
        );
    }
    groups.extend(&choice.groups);
    let mut seen = std::collections::BTreeSet::new();
    groups.retain(|gid| seen.insert(*gid));
    let home = entry.map_or("", |entry| entry.home);
    Ok(User { uid, gid, groups, home: if home.is_empty() { "/".to_owned() } else { home.to_owned() } })
}

fn by_uid(passwd: &str, uid: u32) -> Option<PasswdLine<'_>> {
    passwd_lines(passwd).find(|line| line.uid == uid)
}

fn passwd_lines(text: &str) -> impl Iterator<Item = PasswdLine<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let uid = fields.nth(1)?.trim().parse().ok()?;
        let gid = fields.next()?.trim().parse().ok()?;
        Some(PasswdLine { name, uid, gid, home: fields.nth(1).unwrap_or("") })
    })
}

/// Name, id, members.
fn group_lines(text: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let gid = fields.nth(1)?.trim().parse().ok()?;
        Some((name, gid, fields.next().unwrap_or("").trim()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/var/www:\nbroken\n";
    const GROUP: &str = "root:x:0:\nweb:x:34:\nlogs:x:44:web,root\nlast:x:55:web\n";

    fn choice(image: &str, uid: Option<u32>, gid: Option<u32>, groups: &[u32]) -> UserChoice {
        UserChoice { image: image.to_owned(), uid, gid, groups: groups.to_vec(), strict: false }
    }

    #[test]
    fn users_resolve_as_container_runtimes_do() {
        for (choice, want) in [
            (choice("", None, None, &[]), (0, 0, vec![0, 44], "/root")),
            (choice("web", None, None, &[]), (33, 34, vec![34, 44, 55], "/var/www")),
            (choice("33", None, None, &[9, 44]), (33, 34, vec![34, 44, 55, 9], "/var/www")),
            (choice("web:logs", None, None, &[]), (33, 44, vec![44, 55], "/var/www")),
            (choice("7:8", None, None, &[]), (7, 8, vec![8], "/")),
            (choice("1000", None, None, &[]), (1000, 0, vec![0], "/")),
            (choice("web:logs", Some(1000), None, &[]), (1000, 0, vec![0], "/")),
            (choice("web", Some(33), Some(99), &[]), (33, 99, vec![99, 44, 55], "/var/www")),
        ] {
            let user = resolve(&choice, PASSWD, GROUP).unwrap();
            assert_eq!((user.uid, user.gid, user.groups, user.home.as_str()), want, "{choice:?}");
        }
    }

    #[test]
    fn strictly_only_what_the_pod_says() {
        let strict = UserChoice { strict: true, ..choice("web", None, None, &[9]) };
        assert_eq!(resolve(&strict, PASSWD, GROUP).unwrap().groups, [34, 9]);
    }

    #[test]
    fn unknown_names_are_errors() {
        assert!(resolve(&choice("nobody", None, None, &[]), PASSWD, GROUP).unwrap_err().contains("nobody"));
        assert!(resolve(&choice("web:none", None, None, &[]), PASSWD, GROUP).unwrap_err().contains("group none"));
        assert!(resolve(&choice("web", None, None, &[]), "", "").is_err());
    }
}
