package cache

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func fdName(f *os.File) string { return strconv.Itoa(int(f.Fd())) }

// asUser runs do on a thread that is uid 65534 without any capability, while
// the process stays root. The thread isn't given back.
func asUser(t *testing.T, dir string, do func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: to stop being it")
	}
	// Mode 0700 and root's: what somebody else has.
	if err := os.Mkdir(filepath.Join(dir, "not ours"), 0o700); err != nil {
		t.Fatal(err)
	}
	for at := dir; at != "/"; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode()&0o005 != 0o005 {
			if err := os.Chmod(at, info.Mode()|0o055); err != nil {
				t.Fatal(err)
			}
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		// The raw calls change this thread alone; those of package syscall, all.
		for _, call := range []uintptr{unix.SYS_SETRESGID, unix.SYS_SETRESUID} {
			if _, _, errno := unix.RawSyscall(call, 65534, 65534, 65534); errno != 0 {
				t.Error(errno)
				return
			}
		}
		do()
	}()
	<-done
}

// fillForbidding makes directories whose modes forbid their owner everything
// that removing them takes.
func fillForbidding(dir *os.File) error {
	path := filepath.Join("/proc/self/fd", fdName(dir), "rootfs")
	var errs []error
	for _, mode := range []fs.FileMode{0o000, 0o100, 0o200, 0o400, 0o500, 0o600} {
		at := filepath.Join(path, "mode"+strconv.FormatUint(uint64(mode), 8))
		errs = append(errs,
			os.MkdirAll(filepath.Join(at, "sub"), 0o755),
			os.WriteFile(filepath.Join(at, "sub/file"), nil, 0o000),
			os.Chmod(filepath.Join(at, "sub"), mode),
			os.Chmod(at, mode))
	}
	return errors.Join(append(errs, os.Chmod(path, 0o555))...)
}

func openDirFile(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestRemoveTree(t *testing.T) {
	base := t.TempDir()
	outside := filepath.Join(base, "outside")
	tree := filepath.Join(base, "parent", "tree")
	for _, err := range []error{
		os.MkdirAll(outside, 0o755),
		os.WriteFile(filepath.Join(outside, "keep"), make([]byte, 1<<20), 0o600),
		os.MkdirAll(filepath.Join(tree, "a/b"), 0o755),
		os.WriteFile(filepath.Join(tree, "a/file"), make([]byte, 1<<20), 0o600),
		os.Link(filepath.Join(tree, "a/file"), filepath.Join(tree, "a/b/hard")),
		os.Link(filepath.Join(outside, "keep"), filepath.Join(tree, "shared")),
		os.Symlink(outside, filepath.Join(tree, "abs")),
		os.Symlink("../../outside", filepath.Join(tree, "rel")),
		os.Symlink("..", filepath.Join(tree, "up")),
		syscall.Mkfifo(filepath.Join(tree, "fifo"), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	freed, err := removeTree(t.Context(), openDirFile(t, filepath.Join(base, "parent")), "tree")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(tree); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
	if _, err := os.Stat(filepath.Join(outside, "keep")); err != nil {
		t.Errorf("a link was followed: %v", err)
	}
	// The inner hard link counts once, the outer one not at all; directories may
	// be of any size.
	if freed < 1<<20 || freed > 3<<19 {
		t.Errorf("freed %d, want a little more than 1 MiB", freed)
	}
	if _, err := removeTree(t.Context(), openDirFile(t, base), "nothing"); err != nil {
		t.Errorf("nothing there: %v", err)
	}
}

// Deeper than any path, and than we may hold descriptors.
func TestRemoveTreeDeep(t *testing.T) {
	parent := openDirFile(t, t.TempDir())
	const depth = 3000
	fd := int(parent.Fd())
	name := "tree"
	for range depth {
		if err := unix.Mkdirat(fd, name, 0o700); err != nil {
			t.Fatal(err)
		}
		next, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if fd != int(parent.Fd()) {
			unix.Fchmod(fd, 0o500)
			unix.Close(fd)
		}
		fd, name = next, strings.Repeat("d", 100)
	}
	unix.Close(fd)

	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	low := limit
	low.Cur = 256
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)
	if _, err := removeTree(t.Context(), parent, "tree"); err != nil {
		t.Fatal(err)
	}
}

func TestRemoveTreeForbidding(t *testing.T) {
	dir := onTmpfs(t, "mode=0777")
	asUser(t, dir, func() {
		root := filepath.Join(dir, "root")
		if err := os.Mkdir(root, 0o700); err != nil {
			t.Error(err)
			return
		}
		f, err := os.Open(root)
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		if err := fillForbidding(f); err != nil {
			t.Error(err)
			return
		}
		if _, err := removeTree(context.Background(), f, "rootfs"); err != nil {
			t.Error(err)
		}
	})
}

// What is mounted in a tree isn't emptied.
func TestRemoveTreeMount(t *testing.T) {
	dir := onTmpfs(t, "")
	precious := filepath.Join(dir, "precious")
	mount := filepath.Join(dir, "tree/mnt")
	for _, err := range []error{
		os.MkdirAll(precious, 0o755),
		os.WriteFile(filepath.Join(precious, "file"), nil, 0o600),
		os.MkdirAll(mount, 0o755),
		syscall.Mount(precious, mount, "", syscall.MS_BIND, ""),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	defer syscall.Unmount(mount, syscall.MNT_DETACH)
	if _, err := removeTree(t.Context(), openDirFile(t, dir), "tree"); err == nil {
		t.Error("no error")
	}
	if _, err := os.Stat(filepath.Join(precious, "file")); err != nil {
		t.Errorf("emptied: %v", err)
	}
}

func TestRemoveTreeStops(t *testing.T) {
	base := t.TempDir()
	if err := os.MkdirAll(filepath.Join(base, "tree/a"), 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := removeTree(ctx, openDirFile(t, base), "tree"); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}
