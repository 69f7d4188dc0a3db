package rootfs

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestReadFile(t *testing.T) {
	eachLookup(t, func(t *testing.T, d *Dir, root, outside string) {
		tree(t, root, outside)
		must(t, unix.Mkfifo(filepath.Join(root, "fifo"), 0o644))
		must(t, os.Symlink("/fifo", filepath.Join(root, "tofifo")))
		must(t, os.Symlink("/etc", filepath.Join(root, "todir")))
		must(t, os.WriteFile(filepath.Join(root, "big"), make([]byte, 101), 0o644))
		cases := []struct {
			name, want, err string
		}{
			{"etc/passwd", "image", ""},
			{"up/passwd", "image", ""},
			{"passwd", "image", ""},
			{"out/secret", "", "no such file"},
			{"fifo", "", "not a regular file"}, // opening it for reading would wait for a writer
			{"tofifo", "", "not a regular file"},
			{"todir", "", "not a regular file"},
			{"big", "", "larger than 100 bytes"},
			{"loop", "", "too many levels"},
			{"none\x1b[2J", "", `"none\x1b[2J"`}, // quoted: a name must not reach the terminal raw
		}
		for _, c := range cases {
			got, err := d.ReadFile(c.name, 100)
			if c.err == "" && (err != nil || string(got) != c.want) {
				t.Errorf("%q: %q, %v", c.name, got, err)
			}
			if c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("%q: error %v, want one with %q", c.name, err, c.err)
			}
		}
	})
}

func TestNewDoesNotTakeTheFile(t *testing.T) {
	f, err := os.Open(t.TempDir())
	must(t, err)
	defer f.Close()
	d, err := New(f)
	must(t, err)
	must(t, d.Close())
	if _, err := f.Stat(); err != nil {
		t.Error(err)
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: owners and device nodes")
	}
}

func TestWrite(t *testing.T) {
	needRoot(t)
	when := time.Unix(-5, 123456789)
	attrs := func(mode uint32) Attrs { return Attrs{Mode: mode, UID: 11, GID: 12, ModTime: when} }
	eachLookup(t, func(t *testing.T, d *Dir, root, outside string) {
		tree(t, root, outside)
		must(t, d.WriteFile("abs/f", strings.NewReader("data"), attrs(0o6751)))
		must(t, d.Symlink("/x/y", "lib/s", attrs(0o777)))
		must(t, d.Mknod("lib/p", Node{Type: fs.ModeNamedPipe}, attrs(0o4622)))
		must(t, d.Mknod("lib/c", Node{fs.ModeDevice | fs.ModeCharDevice, 1, 3}, attrs(0o666)))
		must(t, d.Mknod("lib/b", Node{fs.ModeDevice, 259, 70000}, attrs(0o660)))
		must(t, d.Link("up/passwd", "usr/lib/h"))
		must(t, d.Link("usr/lib/f", "usr/lib/h2"))
		must(t, d.Link("loop", "hardloop"))
		must(t, d.Mkdir("lib/d"))
		must(t, d.SetAttrs("lib/d", attrs(0o2000)))
		must(t, d.SetAttrs(".", attrs(0o711)))
		for name, mode := range map[string]uint32{
			".": unix.S_IFDIR | 0o711, "usr/lib/f": unix.S_IFREG | 0o6751, "usr/lib/s": unix.S_IFLNK | 0o777,
			"usr/lib/p": unix.S_IFIFO | 0o4622, "usr/lib/c": unix.S_IFCHR | 0o666, "usr/lib/b": unix.S_IFBLK | 0o660,
			"usr/lib/d": unix.S_IFDIR | 0o2000,
		} {
			var st unix.Stat_t
			must(t, unix.Lstat(filepath.Join(root, name), &st))
			if st.Mode != mode || st.Uid != 11 || st.Gid != 12 || st.Mtim != (unix.Timespec{Sec: -5, Nsec: 123456789}) {
				t.Errorf("%s: mode %o owner %d:%d mtime %v", name, st.Mode, st.Uid, st.Gid, st.Mtim)
			}
		}
		if data, _ := os.ReadFile(filepath.Join(root, "usr/lib/h")); string(data) != "image" {
			t.Errorf("the hard link holds %q", data)
		}
		if target, _ := os.Readlink(filepath.Join(root, "hardloop")); target != "loop2" {
			t.Errorf("a hard link to a symbolic link is %q", target)
		}
	})
}

// Nothing that exists is written to, be it a file, a link to one or a device.
func TestNoOverwrite(t *testing.T) {
	eachLookup(t, func(t *testing.T, d *Dir, root, outside string) {
		tree(t, root, outside)
		must(t, os.Symlink(filepath.Join(outside, "new"), filepath.Join(root, "tonew")))
		for _, name := range []string{"etc/passwd", "passwd", "out", "tonew", "hanging", "etc"} {
			if err := d.WriteFile(name, strings.NewReader("x"), Attrs{}); !errors.Is(err, unix.EEXIST) {
				t.Errorf("%s: %v", name, err)
			}
		}
		for _, name := range []string{"", ".", "..", "etc/..", "/", "etc/."} {
			if err := d.WriteFile(name, strings.NewReader("x"), Attrs{}); !errors.Is(err, unix.EINVAL) {
				t.Errorf("%q: %v", name, err)
			}
		}
		if _, err := os.Lstat(filepath.Join(outside, "new")); err == nil {
			t.Error("written through a link")
		}
	})
}

func TestXattrs(t *testing.T) {
	needRoot(t)
	// vfs_cap_data revision 2, effective, permitted: CAP_NET_BIND_SERVICE (capabilities(7)).
	capability := []byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	eachLookup(t, func(t *testing.T, d *Dir, root, _ string) {
		a := Attrs{Mode: 0o755, UID: 5, ModTime: time.Unix(1, 0), Xattrs: []Xattr{
			{"security.capability", capability}, {"trusted.t", []byte("v")}, {"bogus.x", []byte("v")}}}
		must(t, d.WriteFile("f", strings.NewReader("x"), a))
		got := make([]byte, 100)
		n, err := unix.Getxattr(filepath.Join(root, "f"), "security.capability", got)
		if err != nil || !bytes.Equal(got[:n], capability) {
			t.Errorf("capability %x, %v: chown must come before it", got[:max(n, 0)], err)
		}
		if d.SkippedXattrs() != 1 {
			t.Errorf("skipped %d attributes, want the one of an unknown namespace", d.SkippedXattrs())
		}
		a.Xattrs = []Xattr{{"trusted.t", []byte("link")}}
		must(t, d.Symlink("f", "s", a))
		if n, err = unix.Lgetxattr(filepath.Join(root, "s"), "trusted.t", got); err != nil || string(got[:n]) != "link" {
			t.Errorf("attribute of the link: %q %v", got[:max(n, 0)], err)
		}
		if n, _ = unix.Getxattr(filepath.Join(root, "f"), "trusted.t", got); string(got[:n]) != "v" {
			t.Errorf("attribute of its target became %q", got[:n])
		}
	})
}

func TestRemoveAll(t *testing.T) {
	eachLookup(t, func(t *testing.T, d *Dir, root, outside string) {
		tree(t, root, outside)
		deep := filepath.Join(root, "a", strings.Repeat("d/", 100))
		must(t, os.MkdirAll(deep, 0o755))
		must(t, os.Symlink(outside, filepath.Join(deep, "out")))
		for i := range 300 {
			must(t, os.WriteFile(filepath.Join(root, "a", strings.Repeat("x", i%200+1)+itoa(i%100)), nil, 0o644))
		}
		must(t, d.RemoveAll("a"))
		must(t, d.RemoveAll("out"))
		must(t, d.RemoveAll("nothing"))
		if _, err := os.Lstat(filepath.Join(root, "a")); err == nil {
			t.Error("still there")
		}
		if _, err := os.Stat(filepath.Join(outside, "secret")); err != nil {
			t.Error("removed what a link pointed to")
		}
		// The remembered parent went with the tree: a new one of that name must be looked up again.
		must(t, d.Mkdir("a"))
		must(t, d.WriteFile("a/f", strings.NewReader("1"), Attrs{Mode: 0o600, UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}))
		must(t, d.RemoveAll("a"))
		must(t, d.Mkdir("a"))
		must(t, d.WriteFile("a/f", strings.NewReader("2"), Attrs{Mode: 0o600, UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}))
		if data, _ := os.ReadFile(filepath.Join(root, "a/f")); string(data) != "2" {
			t.Errorf("written into the removed directory: %q", data)
		}
	})
}

func TestPrepare(t *testing.T) {
	eachLookup(t, func(t *testing.T, d *Dir, root, _ string) {
		must(t, os.Chmod(root, 0o2777))
		must(t, d.Prepare())
		if st, _ := os.Stat(root); st.Mode() != os.ModeDir|0o700 {
			t.Errorf("mode %v", st.Mode())
		}
		must(t, os.WriteFile(filepath.Join(root, "f"), nil, 0o600))
		if err := d.Prepare(); !errors.Is(err, unix.ENOTEMPTY) {
			t.Errorf("a directory in use: %v", err)
		}
	})
}

// TestRacer swaps a directory for a link to the outside as fast as it can while files are written, linked and removed
// below it. Where they end up inside is anybody's guess; outside nothing may change.
func TestRacer(t *testing.T) {
	eachLookup(t, func(t *testing.T, d *Dir, root, outside string) {
		must(t, os.MkdirAll(filepath.Join(root, "a/b"), 0o755))
		must(t, os.Symlink(outside, filepath.Join(root, "evil")))
		stop := make(chan struct{})
		var racer sync.WaitGroup
		racer.Go(func() {
			a, evil := filepath.Join(root, "a"), filepath.Join(root, "evil")
			for {
				select {
				case <-stop:
					return
				default:
					unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, evil, unix.RENAME_EXCHANGE)
				}
			}
		})
		me := Attrs{Mode: 0o600, UID: uint32(os.Geteuid()), GID: uint32(os.Getegid()), ModTime: time.Unix(1, 0)}
		wrote := 0
		for end := time.Now().Add(time.Second); time.Now().Before(end); {
			d.parents.forget("") // look up every time: that is where the race is
			if d.WriteFile("a/b/../f", strings.NewReader("x"), me) == nil {
				wrote++
			}
			d.Link("a/f", "a/g")
			d.Mkdir("a/secret.d")
			d.Symlink("x", "a/s", me)
			d.SetAttrs("a", me)
			for _, name := range []string{"a/f", "a/g", "a/s", "a/secret", "a/secret.d"} {
				d.RemoveAll(name)
			}
			if data, err := d.ReadFile("a/secret", 100); err == nil {
				t.Fatalf("read %q from outside", data)
			}
		}
		close(stop)
		racer.Wait()
		if wrote == 0 {
			t.Error("nothing was ever written, this proves nothing")
		}
		names, err := filepath.Glob(outside + "/*")
		must(t, err)
		if len(names) != 1 || filepath.Base(names[0]) != "secret" {
			t.Errorf("outside now holds %v", names)
		}
		if st, _ := os.Stat(outside); st.Mode().Perm() != 0o755 {
			t.Errorf("outside now has mode %v", st.Mode())
		}
	})
}
