package volume

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestMakeCopiesOnce(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: files of other owners")
	}
	base := t.TempDir()
	from := filepath.Join(base, "image")
	must(t, os.MkdirAll(filepath.Join(from, "dir"), 0o750))
	file := filepath.Join(from, "dir/file")
	must(t, os.WriteFile(file, []byte("content"), 0o600))
	must(t, os.Lchown(file, 1000, 1001))
	must(t, os.Chmod(file, 0o640|os.ModeSetuid))
	when := time.Unix(1700000000, 123456789)
	must(t, os.Chtimes(file, when, when))
	must(t, os.Link(file, filepath.Join(from, "other")))
	must(t, os.Symlink("/outside", filepath.Join(from, "link")))
	must(t, unix.Mkfifo(filepath.Join(from, "fifo"), 0o622))
	must(t, unix.Setxattr(file, "user.x", []byte("y"), 0))
	must(t, os.Chtimes(filepath.Join(from, "dir"), when, when))

	vol := filepath.Join(base, "vols/v")
	must(t, Make(vol, from))
	fi, err := os.Stat(filepath.Join(vol, "dir/file"))
	must(t, err)
	st := fi.Sys().(*syscall.Stat_t)
	if fi.Mode() != 0o640|os.ModeSetuid || st.Uid != 1000 || st.Gid != 1001 || !fi.ModTime().Equal(when) || st.Nlink != 2 {
		t.Errorf("mode %v uid %d gid %d time %v links %d", fi.Mode(), st.Uid, st.Gid, fi.ModTime(), st.Nlink)
	}
	if d, err := os.Stat(filepath.Join(vol, "dir")); err != nil || !d.ModTime().Equal(when) || d.Mode().Perm() != 0o750 {
		t.Errorf("the directory: %v, %v", d, err)
	}
	value := make([]byte, 8)
	if n, err := unix.Getxattr(filepath.Join(vol, "other"), "user.x", value); err != nil || string(value[:n]) != "y" {
		t.Errorf("attribute: %q, %v", value[:n], err)
	}
	if l, err := os.Readlink(filepath.Join(vol, "link")); err != nil || l != "/outside" {
		t.Errorf("link: %q, %v", l, err)
	}

	// What a run has written stays; the image is not copied again.
	must(t, os.Remove(filepath.Join(vol, "link")))
	must(t, Make(vol, from))
	if _, err := os.Lstat(filepath.Join(vol, "link")); err == nil {
		t.Error("a volume that was there was filled again")
	}
	if left, _ := filepath.Glob(filepath.Join(base, "vols/.new-*")); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestMakeFromNothing(t *testing.T) {
	vol := filepath.Join(t.TempDir(), "a/b")
	must(t, Make(vol, filepath.Join(t.TempDir(), "missing")))
	if fi, err := os.Stat(vol); err != nil || fi.Mode().Perm() != 0o755 {
		t.Errorf("%v, %v", fi, err)
	}
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	if Make(file, "") == nil {
		t.Error("a file was taken for a volume")
	}
}

// A device of an image's must not come to work by way of a volume, which is not the root.
func TestDevicesAreNotCopied(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: making devices")
	}
	from := t.TempDir()
	must(t, unix.Mknod(filepath.Join(from, "dev"), unix.S_IFBLK|0o666, int(unix.Mkdev(7, 1))))
	must(t, os.WriteFile(filepath.Join(from, "file"), nil, 0o600))
	vol := filepath.Join(t.TempDir(), "v")
	must(t, Make(vol, from))
	if _, err := os.Lstat(filepath.Join(vol, "dev")); err == nil {
		t.Error("a device was copied into a volume")
	}
	if _, err := os.Lstat(filepath.Join(vol, "file")); err != nil {
		t.Error(err)
	}
}

func TestChownFollowsNoLink(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: changing owners")
	}
	vol, outside := t.TempDir(), filepath.Join(t.TempDir(), "canary")
	must(t, os.WriteFile(outside, nil, 0o600))
	must(t, os.Symlink(outside, filepath.Join(vol, "link")))
	must(t, Chown(vol, 1000, 1000))
	fi, err := os.Stat(outside)
	must(t, err)
	if fi.Sys().(*syscall.Stat_t).Uid != 0 {
		t.Error("a file outside the volume changed its owner")
	}
}
