// Package volume makes directories that outlive a run and fills new ones from an image.
//
// A volume is made whole or not at all: it is filled beside its name and renamed. What is copied
// keeps its owner, mode, times and extended attributes, and what is copied from is a tree that
// nobody changes meanwhile, an image's.
package volume

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Make makes the volume at path, unless it is there. from is a directory to fill it with, ""
// for none; one that does not exist fills it with nothing.
func Make(path, from string) error {
	if fi, err := os.Lstat(path); err == nil {
		if !fi.IsDir() {
			return fmt.Errorf("%s is not a directory", path)
		}
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp) // nothing once it has been renamed
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	if fi, err := os.Lstat(from); err == nil && fi.IsDir() {
		if err := copyTree(tmp, from); err != nil {
			return fmt.Errorf("filling it from the image: %w", err)
		}
	}
	err = os.Rename(tmp, path)
	if errors.Is(err, unix.EEXIST) || errors.Is(err, unix.ENOTEMPTY) {
		return nil // somebody else was first
	}
	return err
}

// Chown gives a directory and all in it to a user. Another container may be changing it meanwhile:
// nothing outside is reached by whatever it puts in the way.
func Chown(path string, uid, gid int) error {
	root, err := os.OpenRoot(path)
	if err != nil {
		return err
	}
	defer root.Close()
	return fs.WalkDir(root.FS(), ".", func(p string, _ fs.DirEntry, err error) error {
		if err == nil {
			err = root.Lchown(p, uid, gid)
		}
		if errors.Is(err, fs.ErrNotExist) && p != "." {
			return nil // it went while we looked
		}
		return err
	})
}

// link identifies a file with several names.
type link struct{ dev, ino uint64 }

// copyTree copies what is in from to to, an empty directory, and from's own attributes.
func copyTree(to, from string) error {
	links := map[link]string{}
	var dirs []string
	err := filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(to, strings.TrimPrefix(p, from))
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		if d.IsDir() {
			dirs = append(dirs, p)
			if p == from {
				return nil
			}
			return os.Mkdir(target, 0o700)
		}
		id := link{uint64(st.Dev), st.Ino}
		if first, seen := links[id]; seen && st.Nlink > 1 {
			return os.Link(first, target)
		}
		links[id] = target
		if err := copyFile(target, p, &st); err == errSkipped {
			return nil
		} else if err != nil {
			return err
		}
		return attributes(target, p, &st)
	})
	for i := len(dirs) - 1; i >= 0 && err == nil; i-- { // deepest first: what is made inside changes the time
		var st unix.Stat_t
		if err = unix.Lstat(dirs[i], &st); err == nil {
			err = attributes(filepath.Join(to, strings.TrimPrefix(dirs[i], from)), dirs[i], &st)
		}
	}
	return err
}

func copyFile(to, from string, st *unix.Stat_t) error {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		in, err := os.Open(from)
		if err != nil {
			return err
		}
		defer in.Close()
		out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(out, in)
		return errors.Join(err, out.Close())
	case unix.S_IFLNK:
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(target, to)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFIFO {
		return unix.Mkfifo(to, 0o600)
	}
	return errSkipped
}

// errSkipped is a device or a socket: an image's devices are to work nowhere, and a volume is
// mounted where its options, not the root's, decide that.
var errSkipped = errors.New("not copied")

// attributes in an order in which none undoes another: chown clears setuid and capabilities.
func attributes(to, from string, st *unix.Stat_t) error {
	if err := os.Lchown(to, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if err := xattrs(to, from); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		if err := unix.Chmod(to, st.Mode&0o7777); err != nil {
			return err
		}
	}
	when := unix.NsecToTimespec(time.Unix(st.Mtim.Unix()).UnixNano())
	return unix.UtimesNanoAt(unix.AT_FDCWD, to, []unix.Timespec{when, when}, unix.AT_SYMLINK_NOFOLLOW)
}

func xattrs(to, from string) error {
	names := make([]byte, 64<<10)
	n, err := unix.Llistxattr(from, names)
	if err != nil || n == 0 {
		return ignoreUnsupported(err)
	}
	value := make([]byte, 64<<10)
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names[:n]), "\x00"), "\x00") {
		n, err := unix.Lgetxattr(from, name, value)
		if err == nil {
			err = unix.Lsetxattr(to, name, value[:n], 0)
		}
		if err := ignoreUnsupported(err); err != nil {
			return fmt.Errorf("attribute %s: %w", name, err)
		}
	}
	return nil
}

func ignoreUnsupported(err error) error {
	if errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	return err
}
