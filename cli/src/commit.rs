//! A checkout in; the commit that is checked out, and the files that say so, out. For the build script, which has no git.

use std::fs;
use std::path::{Path, PathBuf};

/// What the build depends on.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// The full hash; `None` outside of a checkout.
    pub(crate) commit: Option<String>,
    /// What changes when another commit is checked out. All of it exists: cargo takes what is absent for changed.
    pub(crate) watch: Vec<PathBuf>,
}

/// Looks into `root/.git`.
pub(crate) fn find(root: &Path) -> Found {
    let Some(git) = git_folder(&root.join(".git")) else { return Found::default() };
    // A worktree has its own HEAD, but shares its branches.
    let shared = match read(&git.join("commondir")) {
        Some(folder) => git.join(folder),
        None => git.clone(),
    };
    let head = git.join("HEAD");
    let Some(text) = read(&head) else { return Found::default() };
    let Some(branch) = text.strip_prefix("ref: ") else {
        return Found { commit: hash(&text), watch: vec![head] };
    };
    let loose = shared.join(branch);
    let packed = shared.join("packed-refs");
    let commit = read(&loose).or_else(|| find_packed(&read(&packed)?, branch));
    // `git gc` moves a branch from its file into packed-refs, and the next commit makes the file again in its folder.
    let branch_file = if loose.exists() { Some(loose) } else { loose.parent().map(Path::to_owned) };
    let watch = [Some(head), branch_file, Some(packed)];
    let watch = watch.into_iter().flatten().filter(|path| path.exists()).collect();
    Found { commit: commit.as_deref().and_then(hash), watch }
}

/// `.git` is a folder, or a file that says where the folder is.
fn git_folder(dot_git: &Path) -> Option<PathBuf> {
    if dot_git.is_dir() {
        return Some(dot_git.to_owned());
    }
    let folder = read(dot_git)?;
    Some(dot_git.parent()?.join(folder.strip_prefix("gitdir: ")?))
}

fn find_packed(packed: &str, branch: &str) -> Option<String> {
    let lines = packed.lines().filter_map(|line| line.split_once(' '));
    lines.filter(|(_, name)| *name == branch).map(|(hash, _)| hash.to_owned()).next()
}

fn hash(text: &str) -> Option<String> {
    let is_hash = text.len() >= 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then(|| text.to_owned())
}

fn read(path: &Path) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    /// Writes `files` and compares the commit and the names of what is watched.
    fn check(files: &[(&str, &str)], commit: Option<&str>, watch: &[&str]) {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let found = find(&root.path().join("tree"));
        assert_eq!(found.commit.as_deref(), commit, "{files:?}");
        let real = |path: PathBuf| path.canonicalize().unwrap();
        let expected: Vec<PathBuf> =
            watch.iter().map(|name| real(root.path().join(name))).collect();
        assert_eq!(found.watch.into_iter().map(real).collect::<Vec<_>>(), expected, "{files:?}");
    }

    #[test]
    fn a_branch_is_followed() {
        let head = ("tree/.git/HEAD", "ref: refs/heads/main\n");
        check(
            &[
                head,
                ("tree/.git/refs/heads/main", A),
                ("tree/.git/packed-refs", &format!("{B} refs/heads/main\n")),
            ],
            Some(A),
            &["tree/.git/HEAD", "tree/.git/refs/heads/main", "tree/.git/packed-refs"],
        );
        check(
            &[
                head,
                ("tree/.git/refs/heads/old", B),
                (
                    "tree/.git/packed-refs",
                    &format!("# pack-refs\n{B} refs/heads/main2\n{A} refs/heads/main\n^{B}\n"),
                ),
            ],
            Some(A),
            &["tree/.git/HEAD", "tree/.git/refs/heads", "tree/.git/packed-refs"],
        );
    }

    #[test]
    fn a_detached_head_is_the_commit() {
        check(&[("tree/.git/HEAD", &format!("{A}\n"))], Some(A), &["tree/.git/HEAD"]);
    }

    #[test]
    fn a_worktree_shares_its_branches() {
        check(
            &[
                ("tree/.git", "gitdir: ../repository/worktrees/tree\n"),
                ("repository/worktrees/tree/HEAD", "ref: refs/heads/x/y\n"),
                ("repository/worktrees/tree/commondir", "../..\n"),
                ("repository/refs/heads/x/y", A),
            ],
            Some(A),
            &["repository/worktrees/tree/HEAD", "repository/refs/heads/x/y"],
        );
    }

    #[test]
    fn outside_of_a_checkout_nothing_is_known() {
        check(&[], None, &[]);
        check(&[("tree/.git/HEAD", "garbage")], None, &["tree/.git/HEAD"]);
        check(&[("tree/.git/HEAD", "ref: refs/heads/none")], None, &["tree/.git/HEAD"]);
    }
}
