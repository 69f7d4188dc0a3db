package unpack

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// record is what a tree shows of one name, in the form the shared vectors have it.
type record struct {
	Path    string            `json:"path"`
	Type    string            `json:"type"` // f d l c b p s
	Mode    string            `json:"mode"`
	UID     uint32            `json:"uid"`
	GID     uint32            `json:"gid"`
	MTime   *int64            `json:"mtime"` // ns; nil: not compared
	Size    int64             `json:"size"`
	SHA256  string            `json:"sha256,omitempty"`
	Target  string            `json:"target,omitempty"`
	Rdev    string            `json:"rdev,omitempty"`
	Xattrs  map[string]string `json:"xattrs,omitempty"` // values in hex
	Group   string            `json:"group,omitempty"`  // first name of the same inode, if it has several
	Implied bool              `json:"implied,omitempty"`
}

func (r record) String() string {
	b, _ := json.Marshal(r)
	return string(b)
}

type inode struct{ dev, ino uint64 }

// dumpTree lists everything in dir, which is ".".
func dumpTree(t testing.TB, dir string) map[string]record {
	t.Helper()
	out, names := map[string]record{}, map[inode][]string{}
	var walk func(rel string)
	walk = func(rel string) {
		r, id := dumpOne(t, path.Join(dir, rel), rel)
		out[rel] = r
		if r.Type != "d" {
			names[id] = append(names[id], rel)
			return
		}
		list, err := os.ReadDir(path.Join(dir, rel))
		must(t, err)
		for _, e := range list {
			// Overlayfs lists whiteouts in directories that it need not merge, and then finds nothing there.
			if _, err := os.Lstat(path.Join(dir, rel, e.Name())); !os.IsNotExist(err) {
				walk(path.Join(rel, e.Name()))
			}
		}
	}
	walk(".")
	group(out, names)
	return out
}

func group[K comparable](out map[string]record, names map[K][]string) {
	for _, list := range names {
		if len(list) < 2 {
			continue
		}
		for _, name := range list {
			r := out[name]
			r.Group = slices.Min(list)
			out[name] = r
		}
	}
}

func dumpOne(t testing.TB, full, rel string) (record, inode) {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Lstat(full, &st))
	mtime := st.Mtim.Nano()
	r := record{Path: rel, Mode: fmt.Sprintf("%04o", st.Mode&0o7777), UID: st.Uid, GID: st.Gid, MTime: &mtime, Xattrs: xattrsOf(t, full)}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		f, err := os.Open(full)
		must(t, err)
		defer f.Close()
		h := sha256.New()
		_, err = io.Copy(h, f)
		must(t, err)
		r.Type, r.Size, r.SHA256 = "f", st.Size, hex.EncodeToString(h.Sum(nil))
	case unix.S_IFDIR:
		r.Type = "d"
	case unix.S_IFLNK:
		target, err := os.Readlink(full)
		must(t, err)
		r.Type, r.Target = "l", target
	case unix.S_IFCHR, unix.S_IFBLK:
		r.Type = "c"
		if st.Mode&unix.S_IFMT == unix.S_IFBLK {
			r.Type = "b"
		}
		r.Rdev = fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	case unix.S_IFIFO:
		r.Type = "p"
	default:
		r.Type = "s"
	}
	return r, inode{st.Dev, st.Ino}
}

func xattrsOf(t testing.TB, full string) map[string]string {
	t.Helper()
	list := make([]byte, 1<<16)
	n, err := unix.Llistxattr(full, list)
	must(t, err)
	var out map[string]string
	value := make([]byte, 1<<16)
	for name := range strings.SplitSeq(string(list[:n]), "\x00") {
		if name == "" {
			continue
		}
		k, err := unix.Lgetxattr(full, name, value)
		must(t, err)
		if out == nil {
			out = map[string]string{}
		}
		out[name] = hex.EncodeToString(value[:k])
	}
	return out
}

// diffTrees says where got differs from want; nil times in want and what is implied there are left alone.
func diffTrees(got, want map[string]record) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(want)) {
		g, ok := got[name]
		if !ok {
			out = append(out, fmt.Sprintf("missing %s", want[name]))
			continue
		}
		w := want[name]
		if w.MTime == nil {
			g.MTime = nil
		}
		if w.Implied {
			g.Mode, g.UID, g.GID, g.Implied = w.Mode, w.UID, w.GID, true
		}
		if g.String() != w.String() {
			out = append(out, fmt.Sprintf("got  %s\nwant %s", g, w))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[name]; !ok {
			out = append(out, fmt.Sprintf("extra %s", got[name]))
		}
	}
	return out
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: owners, devices, mounts")
	}
}

// tmpfs mounts a file system of our own for the test: it holds every kind of attribute and costs the disk nothing.
func tmpfs(t testing.TB, options string) string {
	t.Helper()
	needRoot(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("needs root: mounting a tmpfs: %v", err)
	}
	t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	return dir
}

func needUserXattrs(t testing.TB, dir string) {
	t.Helper()
	if err := unix.Setxattr(dir, "user.probe", []byte("x"), 0); err != nil {
		t.Skipf("needs a tmpfs with user xattrs (kernel 6.6): %v", err)
	}
	must(t, unix.Removexattr(dir, "user.probe"))
}
