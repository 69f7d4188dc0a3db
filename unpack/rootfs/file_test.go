package rootfs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestBorn writes with every kind of mode and owner under masks that spoil some of them: the calls that are spared must not be missed.
func TestBorn(t *testing.T) {
	needRoot(t)
	for _, mask := range []int{0, 0o022, 0o077, 0o777} {
		eachLookup(t, func(t *testing.T, d *Dir, root, _ string) {
			old := unix.Umask(mask)
			defer unix.Umask(old)
			must(t, d.Prepare())
			bornRight(t, d, root)
		})
	}
}

func bornRight(t *testing.T, d *Dir, root string) {
	t.Helper()
	if left, err := os.ReadDir(root); err != nil || len(left) > 0 {
		t.Fatalf("not empty after Prepare: %v %v", left, err)
	}
	type want struct {
		name string
		a    Attrs
	}
	var list []want
	for i, mode := range []uint32{0, 0o400, 0o644, 0o664, 0o755, 0o777, 0o4755, 0o2755, 0o6777, 0o1777, 0o7000} {
		for k, owner := range [][2]uint32{{0, 0}, {0, 5}, {5, 0}, {70000, 70001}} {
			a := Attrs{Mode: mode, UID: owner[0], GID: owner[1], ModTime: time.Unix(int64(i), 7)}
			file, dir, link := fmt.Sprintf("f%d.%d", i, k), fmt.Sprintf("d%d.%d", i, k), fmt.Sprintf("l%d.%d", i, k)
			must(t, d.WriteFile(file, strings.NewReader("x"), a))
			must(t, d.Mkdir(dir))
			must(t, d.Symlink("x", link, a))
			must(t, d.SetAttrs(dir, a))
			list = append(list, want{file, a}, want{dir, a})
			a.Mode = 0o777
			list = append(list, want{link, a})
		}
	}
	for _, w := range list {
		var st unix.Stat_t
		must(t, unix.Lstat(filepath.Join(root, w.name), &st))
		if st.Mode&0o7777 != w.a.Mode || st.Uid != w.a.UID || st.Gid != w.a.GID || st.Mtim.Nano() != w.a.ModTime.UnixNano() {
			t.Errorf("%s: %o %d:%d %d, want %o %d:%d", w.name, st.Mode, st.Uid, st.Gid, st.Mtim.Nano(), w.a.Mode, w.a.UID, w.a.GID)
		}
	}
}

// On a file system mounted so, files have the group of their directory from the start: what our own group is does not matter.
func TestBornWithGroupOfDirectory(t *testing.T) {
	needRoot(t)
	place := t.TempDir()
	image, at := filepath.Join(place, "image"), filepath.Join(place, "at")
	must(t, os.Mkdir(at, 0o755))
	for _, c := range []string{"truncate -s 8m " + image, "mkfs.ext4 -q " + image, "mount -o loop,grpid " + image + " " + at} {
		if out, err := exec.Command("sh", "-c", c).CombinedOutput(); err != nil {
			t.Skipf("needs root, mkfs.ext4 and loop devices: %s: %v\n%s", c, err, out)
		}
	}
	t.Cleanup(func() { must(t, unix.Unmount(at, unix.MNT_DETACH)) })
	root := filepath.Join(at, "root")
	must(t, os.Mkdir(root, 0o755))
	must(t, os.Chown(root, 0, 5))
	d, err := Open(root)
	must(t, err)
	defer d.Close()
	must(t, d.Prepare())
	bornRight(t, d, root)
}

func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(list)
}

// TestParents works in more directories than are kept open.
func TestParents(t *testing.T) {
	eachLookup(t, func(t *testing.T, d *Dir, root, _ string) {
		before := openFiles(t)
		for i := range 3 * keptParents {
			must(t, d.Mkdir(fmt.Sprint(i)))
			must(t, d.WriteFile(fmt.Sprint(i, "/f"), strings.NewReader(fmt.Sprint(i)), self()))
			must(t, d.Link(fmt.Sprint(i/2, "/f"), fmt.Sprint(i, "/l")))
		}
		for i := range 3 * keptParents {
			if data, _ := os.ReadFile(filepath.Join(root, fmt.Sprint(i, "/l"))); string(data) != fmt.Sprint(i/2) {
				t.Errorf("%d: %q", i, data)
			}
		}
		if n := openFiles(t) - before; n < 2 || n > keptParents {
			t.Errorf("%d directories kept open", n)
		}
		d.parents.forget("")
		if n := openFiles(t); n != before {
			t.Errorf("%d descriptors more", n-before)
		}
	})
}

// What a name through a link means changes with the link, so it is looked up each time.
func TestParentsThroughLinks(t *testing.T) {
	eachLookup(t, func(t *testing.T, d *Dir, root, outside string) {
		tree(t, root, outside)
		for _, name := range []string{"lib/f", "usr/../usr/lib/g", "/usr//lib/h", "./usr/lib/i"} {
			must(t, d.WriteFile(name, strings.NewReader("old"), self()))
		}
		must(t, d.Remove("lib"))
		must(t, d.Symlink("etc", "lib", self()))
		must(t, d.RemoveAll("usr"))
		must(t, d.Mkdir("usr"))
		must(t, d.Mkdir("usr/lib"))
		for _, name := range []string{"lib/f", "usr/../usr/lib/g", "/usr//lib/h", "./usr/lib/i"} {
			must(t, d.WriteFile(name, strings.NewReader("new"), self()))
		}
		for _, name := range []string{"etc/f", "usr/lib/g", "usr/lib/h", "usr/lib/i"} {
			if data, _ := os.ReadFile(filepath.Join(root, name)); string(data) != "new" {
				t.Errorf("%s: %q", name, data)
			}
		}
	})
}

// A File keeps its directory, wherever that is by the time somebody gets round to it, and nothing else of that name.
func TestFileKeepsItsDirectory(t *testing.T) {
	eachLookup(t, func(t *testing.T, d *Dir, root, outside string) {
		must(t, d.Mkdir("a"))
		moved, err := d.File("a/moved", self())
		must(t, err)
		gone, err := d.File("a/gone", self())
		must(t, err)
		taken, err := d.File("a/taken", self())
		must(t, err)
		must(t, os.WriteFile(filepath.Join(root, "a/taken"), []byte("old"), 0o600))
		must(t, os.Rename(filepath.Join(root, "a"), filepath.Join(root, "b")))
		must(t, os.Symlink(outside, filepath.Join(root, "a")))
		must(t, moved.Create())
		_, err = moved.Write([]byte("x"))
		must(t, err)
		must(t, moved.Close())
		if data, _ := os.ReadFile(filepath.Join(root, "b/moved")); string(data) != "x" {
			t.Errorf("%q", data)
		}
		if err := taken.Create(); !errors.Is(err, unix.EEXIST) {
			t.Errorf("over another file: %v", err)
		}
		if _, err := taken.Write([]byte("x")); !errors.Is(err, unix.EEXIST) {
			t.Errorf("written all the same: %v", err)
		}
		if err := taken.Close(); !errors.Is(err, unix.EEXIST) {
			t.Errorf("forgotten: %v", err)
		}
		must(t, os.RemoveAll(filepath.Join(root, "b")))
		if err := gone.Create(); !errors.Is(err, unix.ENOENT) {
			t.Errorf("in a directory that is gone: %v", err)
		}
		if err := gone.Close(); !errors.Is(err, unix.ENOENT) {
			t.Errorf("forgotten: %v", err)
		}
		if list, _ := os.ReadDir(outside); len(list) != 1 {
			t.Errorf("outside: %v", list)
		}
	})
}

func self() Attrs {
	return Attrs{Mode: 0o600, UID: uint32(os.Geteuid()), GID: uint32(os.Getegid()), ModTime: time.Unix(1, 0)}
}
