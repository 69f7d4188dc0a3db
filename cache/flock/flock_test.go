package flock

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func openRoot(t *testing.T) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

func openFile(t *testing.T, root *os.Root, name string) *os.File {
	t.Helper()
	f, err := root.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestTry(t *testing.T) {
	for _, tt := range []struct {
		name        string
		first, then Mode
		busy        bool
	}{
		{"shared and shared", Shared, Shared, false},
		{"shared and exclusive", Shared, Exclusive, true},
		{"exclusive and shared", Exclusive, Shared, true},
		{"exclusive and exclusive", Exclusive, Exclusive, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := openRoot(t)
			a, b := openFile(t, root, "x"), openFile(t, root, "x")
			if err := Try(a, tt.first); err != nil {
				t.Fatal(err)
			}
			err := Try(b, tt.then)
			if errors.Is(err, ErrBusy) != tt.busy || (err != nil) != tt.busy {
				t.Errorf("second lock: %v", err)
			}
		})
	}
}

func TestLockWaits(t *testing.T) {
	root := openRoot(t)
	a, b := openFile(t, root, "x"), openFile(t, root, "x")
	if err := Try(a, Exclusive); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(30*time.Millisecond, func() { Close(a) })
	if err := Lock(t.Context(), b, Exclusive); err != nil {
		t.Fatal(err)
	}
}

func TestLockEndsWithContext(t *testing.T) {
	root := openRoot(t)
	a, b := openFile(t, root, "x"), openFile(t, root, "x")
	if err := Try(a, Exclusive); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	start := time.Now()
	if err := Lock(ctx, b, Shared); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want cancelled", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("cancelling took %v", took)
	}
}

// Close drops the lock even if another descriptor of the same description is
// still about.
func TestCloseWithDuplicate(t *testing.T) {
	root := openRoot(t)
	a, b := openFile(t, root, "x"), openFile(t, root, "x")
	if err := Try(a, Exclusive); err != nil {
		t.Fatal(err)
	}
	dup, err := syscall.Dup(int(a.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(dup)
	if err := Close(a); err != nil {
		t.Fatal(err)
	}
	if err := Try(b, Exclusive); err != nil {
		t.Errorf("the duplicate keeps the lock: %v", err)
	}
}

func TestOpen(t *testing.T) {
	root := openRoot(t)
	if _, err := Open(root, "none", os.O_RDONLY, Shared); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing there: %v", err)
	}
	if err := root.Mkdir("dir", 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := Open(root, "dir", os.O_RDONLY|syscall.O_DIRECTORY, Exclusive)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(root, "dir", os.O_RDONLY, Shared); !errors.Is(err, ErrBusy) {
		t.Errorf("locked: %v", err)
	}
	if err := Close(f); err != nil {
		t.Fatal(err)
	}
}

// What was opened may be replaced before it's locked.
func TestStillNamed(t *testing.T) {
	root := openRoot(t)
	f := openFile(t, root, "x")
	if err := stillNamed(root, "x", f); err != nil {
		t.Errorf("untouched: %v", err)
	}
	if err := root.Rename("x", "y"); err != nil {
		t.Fatal(err)
	}
	if err := stillNamed(root, "x", f); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("renamed: %v", err)
	}
	openFile(t, root, "x")
	if err := stillNamed(root, "x", f); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("replaced: %v", err)
	}
}

// Many who create, hold and remove one lock file are never two at a time.
func TestCreateExcludes(t *testing.T) {
	root := openRoot(t)
	var inside, count atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 25 {
				f, err := Create(t.Context(), root, "lock")
				if err != nil {
					t.Error(err)
					return
				}
				if n := inside.Add(1); n != 1 {
					t.Errorf("%d holders at once", n)
				}
				count.Add(1)
				inside.Add(-1)
				if err := Remove(root, "lock", f); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := count.Load(); n != 200 {
		t.Errorf("%d turns, want 200", n)
	}
	if _, err := os.Lstat(filepath.Join(root.Name(), "lock")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the lock file is still there: %v", err)
	}
}

func TestCreateEndsWithContext(t *testing.T) {
	root := openRoot(t)
	f, err := Create(t.Context(), root, "lock")
	if err != nil {
		t.Fatal(err)
	}
	defer Remove(root, "lock", f)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := Create(ctx, root, "lock"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want the deadline", err)
	}
}
