//! `image ls-files` and `image tree`: what an image consists of.

use clap::Args;

use super::{
    Session, diff, parse, ui,
    verb::{Arity, Outcome, Verb},
};
use crate::{
    engine::{ImageFile, TreeLayer},
    model::human,
};

/// Written when so many bytes are together.
const CHUNK: usize = 64 << 10;

#[derive(Args)]
struct ListFlags {
    /// Mode, owner, size and time too
    #[arg(long, short = 'l')]
    long: bool,
    /// End every name with a NUL byte and write it as it is
    #[arg(long, short = 'z')]
    null: bool,
}

pub const LIST: Verb = Verb {
    spellings: &["image ls-files"],
    about: "List the files of an image",
    usage: "[OPTIONS] IMAGE [PATH]",
    arity: Arity::Between(1, 2),
    flags: ListFlags::augment_args,
    run: |session, matches, names| list(session, &parse::flags(matches)?, &names),
    ..Verb::PLAIN
};

fn list(session: &Session, flags: &ListFlags, names: &[String]) -> Outcome {
    let mut text: Vec<u8> = Vec::new();
    let mut broken = None;
    let path = names.get(1).map(String::as_str);
    let mut take = |file: &ImageFile| {
        if flags.null {
            text.extend_from_slice(&file.path);
            text.push(0);
        } else {
            text.extend_from_slice(line(file, flags.long).as_bytes());
        }
        if text.len() >= CHUNK && broken.is_none() {
            broken = ui::raw(&text).err();
            text.clear();
        }
        Ok(())
    };
    session.engine()?.image_files(&names[0], path, &mut take)?;
    match broken {
        Some(failure) => Err(failure),
        None => ui::raw(&text).map(|()| 0),
    }
}

/// As `ls -l` and `tar tv` have it.
fn line(file: &ImageFile, long: bool) -> String {
    let mut line = String::new();
    if long {
        let time = jiff::Timestamp::from_second(file.modified);
        let time = time.map_or_else(|_| "-".to_owned(), |time| time.to_string());
        line = format!(
            "{} {:>5} {:>5} {:>11} {time} ",
            permissions(file.mode),
            file.uid,
            file.gid,
            file.size
        );
    }
    diff::push_shown(&mut line, &file.path);
    if let (true, Some(target)) = (long, &file.target) {
        line.push_str(" -> ");
        diff::push_shown(&mut line, target);
    }
    line.push('\n');
    line
}

fn permissions(mode: u32) -> String {
    let kind = match mode & libc::S_IFMT {
        libc::S_IFDIR => 'd',
        libc::S_IFLNK => 'l',
        libc::S_IFCHR => 'c',
        libc::S_IFBLK => 'b',
        libc::S_IFIFO => 'p',
        libc::S_IFSOCK => 's',
        _ => '-',
    };
    let mut text = String::from(kind);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (bits & 1 != 0, mode & special != 0) {
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    text
}

#[derive(Args)]
struct TreeFlags {
    /// Show instead which images lie on its topmost layer
    #[arg(long)]
    whatrequires: bool,
}

pub const TREE: Verb = Verb {
    spellings: &["image tree"],
    about: "Show the layers of an image, and which images end with them",
    usage: "[OPTIONS] IMAGE",
    arity: Arity::Exactly(1),
    flags: TreeFlags::augment_args,
    run: |session, matches, names| tree(session, &parse::flags(matches)?, &names[0]),
    ..Verb::PLAIN
};

fn tree(session: &Session, flags: &TreeFlags, image: &str) -> Outcome {
    let tree = session.engine()?.image_tree(image, flags.whatrequires)?;
    ui::line(&format!("Image ID: {}", tree.record.config.short()))?;
    ui::line(&format!("Tags:     [{}]", tree.tags.join(" ")))?;
    ui::line(&format!(
        "Size:     {}",
        human::short_size(tree.record.size)
    ))?;
    match tree.layers.is_empty() {
        true => ui::line("No Image Layers")?,
        false => ui::line("Image Layers")?,
    }
    let mut text = String::new();
    branches(&tree.layers, &mut String::new(), &mut text);
    ui::raw(text.as_bytes())?;
    Ok(0)
}

fn branches(layers: &[TreeLayer], indent: &mut String, text: &mut String) {
    for (position, layer) in layers.iter().enumerate() {
        let last = position + 1 == layers.len();
        let branch = if last { "└── " } else { "├── " };
        let size = human::short_size(layer.size);
        text.push_str(&format!(
            "{indent}{branch}ID: {} Size: {size:>7}",
            layer.chain_id.short()
        ));
        if !layer.top_of.is_empty() {
            text.push_str(&format!(" Top Layer of: [{}]", layer.top_of.join(" ")));
        }
        text.push('\n');
        let length = indent.len();
        indent.push_str(if last { "    " } else { "│   " });
        branches(&layer.children, indent, text);
        indent.truncate(length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_look_as_ls_has_them() {
        assert_eq!(permissions(0o104_755), "-rwsr-xr-x");
        assert_eq!(permissions(0o041_777), "drwxrwxrwt");
        assert_eq!(permissions(0o102_644), "-rw-r-Sr--");
        assert_eq!(permissions(0o120_777), "lrwxrwxrwx");
    }
}
