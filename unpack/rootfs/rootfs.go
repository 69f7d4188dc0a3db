// Package rootfs gives out a directory handle beneath which no path can escape.
//
// A name is resolved as a process chrooted to the directory would resolve it: an absolute symbolic link starts again at the
// directory, ".." at the top stays there. Image trees are full of such links and os.Root refuses them; a program that joins strings and
// opens the result follows them out onto the host, which is the oldest hole of every unpacker.
//
// The promise holds while someone else renames things in the tree: only descriptors are ever acted upon. The parent of a name is
// opened by openat2(2) with RESOLVE_IN_ROOT, or by a walker in user space where a seccomp filter forbids openat2; the last
// component is then given to an *at() call which does not follow it. What is not promised is *which* object inside the
// tree a name means while the tree is being changed.
package rootfs

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Dir is an open directory. It belongs to one goroutine at a time, but the Files it gives out may each go to another.
type Dir struct {
	root    int
	lookup  lookup
	parents parents
	buf     []byte
	born    *born
	skipped atomic.Int64
}

// Attrs is what a file has besides its contents.
type Attrs struct {
	Mode     uint32 // permission bits with setuid, setgid and sticky: 07777
	UID, GID uint32
	ModTime  time.Time
	Xattrs   []Xattr
}

// Xattr is one extended attribute.
type Xattr struct {
	Name  string
	Value []byte
}

// Node is a device or a fifo: Type is fs.ModeNamedPipe, fs.ModeDevice, or fs.ModeDevice with fs.ModeCharDevice.
type Node struct {
	Type         fs.FileMode
	Major, Minor uint32
}

// Open opens the directory at path.
func Open(path string) (*Dir, error) {
	fd, err := openat(unix.AT_FDCWD, path, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fail("opening", path, err)
	}
	return newDir(fd, kernelOrWalker(fd)), nil
}

// New makes a Dir of an open directory, which stays the caller's.
func New(f *os.File) (*Dir, error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	var fd int
	var errno error
	// Control and not Fd: the latter would switch the caller's descriptor to blocking mode.
	if err := conn.Control(func(p uintptr) {
		fd, errno = openat(int(p), ".", unix.O_PATH|unix.O_DIRECTORY, 0)
	}); err != nil {
		return nil, err
	}
	if errno != nil {
		return nil, fail("opening", f.Name(), errno)
	}
	return newDir(fd, kernelOrWalker(fd)), nil
}

func newDir(fd int, l lookup) *Dir {
	return &Dir{root: fd, lookup: l}
}

// Close releases the descriptors, but for those of Files not yet closed.
func (d *Dir) Close() error {
	d.parents.forget("")
	return unix.Close(d.root)
}

// SkippedXattrs counts the extended attributes that the file system or our privilege refused so far.
func (d *Dir) SkippedXattrs() int { return int(d.skipped.Load()) }

// Resolve returns the absolute path inside the root that name means, every symbolic link resolved; components which do not exist
// are kept as they are. The answer is a string and as such only true while nobody changes the tree.
func (d *Dir) Resolve(name string) (string, error) {
	w := newWalk(d.root, name)
	defer w.close()
	err := w.run()
	if err == unix.ENOENT || err == unix.ENOTDIR {
		w.runLexically()
		err = nil
	}
	if err != nil {
		return "", fail("resolving", name, err)
	}
	return w.path(), nil
}

// Stat describes what name means once every symbolic link is followed.
func (d *Dir) Stat(name string) (unix.Stat_t, error) {
	var st unix.Stat_t
	fd, err := d.lookup(d.root, name, 0)
	if err != nil {
		return st, fail("looking up", name, err)
	}
	defer unix.Close(fd)
	if err := unix.Fstat(fd, &st); err != nil {
		return st, fail("looking up", name, err)
	}
	return st, nil
}

// ReadFile returns the contents of a regular file of at most limit bytes, following links inside the root.
//
// An image may put a fifo, a device or a link to /dev/zero where a file is expected (CVE-2024-9341, CVE-2024-9676), or simply gigabytes
// (CVE-2026-47262). The type is therefore looked at through O_PATH, which opens nothing: opening a watchdog or tape device would act.
func (d *Dir) ReadFile(name string, limit int64) ([]byte, error) {
	path, err := d.lookup(d.root, name, 0)
	if err != nil {
		return nil, fail("reading", name, err)
	}
	defer unix.Close(path)
	var st unix.Stat_t
	if err := unix.Fstat(path, &st); err != nil {
		return nil, fail("reading", name, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("reading %q: not a regular file", name)
	}
	f, err := os.OpenFile(procPath(path), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fail("reading", name, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fail("reading", name, err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("reading %q: larger than %d bytes", name, limit)
	}
	return data, nil
}

func split(name string) (dir, base string) {
	name = strings.TrimRight(name, "/")
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return "", name
	}
	return name[:i], name[i+1:]
}

// fail puts the name between quotes: names come from images and may hold anything, escape sequences for terminals included.
func fail(verb, name string, err error) error {
	if err == nil {
		return nil
	}
	if len(name) > 300 {
		name = name[:300] + "…"
	}
	return fmt.Errorf("%s %q: %w", verb, name, err)
}
