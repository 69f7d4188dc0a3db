package cache

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/umiak/umiak/cache/digest"
)

// TestMain lets the tests run this very binary as another process: some of
// them are about processes, not goroutines.
func TestMain(m *testing.M) {
	if role := os.Getenv("UMIAK_CACHE_TEST_ROLE"); role != "" {
		if err := play(role, os.Args[1:]); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// play is what the other process does in the cache args[0].
func play(role string, args []string) error {
	c, err := Open(args[0])
	if err != nil {
		return err
	}
	ctx := context.Background()
	switch role {
	case "put": // args[1] grows by a line for each download.
		return c.Put(ctx, digest.FromBytes(bigBlob()), -1, func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(bigBlob())), note(args[1])
		})
	case "put and hang":
		half := bytes.NewReader(bigBlob()[:len(bigBlob())/2])
		return c.Put(ctx, digest.FromBytes(bigBlob()), -1, func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(half, readerFunc(func([]byte) (int, error) { return 0, hang() }))), nil
		})
	case "root":
		r, err := c.Root(ctx, "r", func(_ context.Context, dir *os.File) error {
			return errors.Join(note(args[1]), fillSmall(dir))
		})
		if err != nil {
			return err
		}
		return checkSmall(r)
	case "root and hang":
		_, err := c.Root(ctx, "r", func(_ context.Context, dir *os.File) error {
			return errors.Join(fillSmall(dir), hang())
		})
		return err
	case "lease and hang":
		_, err := c.Lease("r")
		return errors.Join(err, hang())
	case "write and hang":
		_, err := c.Writing(ctx)
		return errors.Join(err, hang())
	case "collect":
		_, err := c.Collect(ctx, func() (Live, error) { return Live{}, nil })
		return err
	}
	return errors.New("unknown role")
}

// hang tells the parent that the point is reached, and waits to be killed.
func hang() error {
	fmt.Println("hanging")
	io.Copy(io.Discard, os.Stdin)
	return nil
}

func note(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	fmt.Fprintln(f, "made")
	return f.Close()
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func command(t *testing.T, role string, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), "UMIAK_CACHE_TEST_ROLE="+role)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// hanging starts another process and waits until it hangs. kill kills it.
func hanging(t *testing.T, role string, args ...string) (kill func()) {
	t.Helper()
	cmd := command(t, role, args...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = func() {
		cmd.Process.Kill()
		cmd.Wait()
		stdin.Close()
	}
	t.Cleanup(kill)
	if line, _ := bufio.NewReader(stdout).ReadString('\n'); line != "hanging\n" {
		t.Fatalf("%s says %q", role, line)
	}
	return kill
}

func open(t *testing.T) *Cache {
	t.Helper()
	return openAt(t, filepath.Join(t.TempDir(), "cache"))
}

func openAt(t *testing.T, dir string) *Cache {
	t.Helper()
	c, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// onTmpfs mounts an empty tmpfs for one test.
func onTmpfs(t *testing.T, options string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts a tmpfs")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("needs root: mounting a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// bigBlob takes several reads and is the same in every process.
func bigBlob() []byte {
	var b [1 << 20]byte
	rand.NewChaCha8([32]byte{}).Read(b[:])
	return b[:]
}

func bytesOf(b []byte) func(context.Context) (io.ReadCloser, error) {
	return func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
}

func put(t *testing.T, c *Cache, b []byte) digest.Digest {
	t.Helper()
	d := digest.FromBytes(b)
	if err := c.Put(t.Context(), d, int64(len(b)), bytesOf(b)); err != nil {
		t.Fatal(err)
	}
	return d
}

func checkBytes(t *testing.T, c *Cache, d digest.Digest, want []byte) {
	t.Helper()
	f, err := c.Blob(d)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got, err := io.ReadAll(io.LimitReader(f, 16<<20)); err != nil || !bytes.Equal(got, want) {
		t.Errorf("blob has %d bytes, %v; want the %d stored", len(got), err, len(want))
	}
}

// fillSmall makes a small tree the way a caller does, beneath the handle.
func fillSmall(dir *os.File) error {
	path := fmt.Sprintf("/proc/self/fd/%d", dir.Fd())
	return errors.Join(
		os.Mkdir(path+"/rootfs", 0o755),
		os.WriteFile(path+"/rootfs/file", []byte("content"), 0o644),
		os.WriteFile(path+"/plan", []byte("plan"), 0o600),
	)
}

func checkSmall(r *Root) error {
	got, err := os.ReadFile(filepath.Join(r.Path(), "rootfs/file"))
	if err == nil && string(got) != "content" {
		err = fmt.Errorf("file has %q", got)
	}
	return err
}

func makeRoot(t *testing.T, c *Cache, id string) *Root {
	t.Helper()
	r, err := c.Root(t.Context(), id, func(_ context.Context, dir *os.File) error { return fillSmall(dir) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func noFill(context.Context, *os.File) error { return errors.New("filled again") }

// files lists all that is in the cache but its fixed parts.
func files(t *testing.T, c *Cache) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(c.Path(), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(c.Path(), path)
		fixed := []string{".", "README", "umiak-cache", "blobs", "blobs/sha256", "blobs/sha512", "locks", "locks/writing", "refs", "roots", "state", "tmp"}
		if !slices.Contains(fixed, rel) {
			all = append(all, rel)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func wantFiles(t *testing.T, c *Cache, want ...string) {
	t.Helper()
	if got := files(t, c); !slices.Equal(got, want) {
		t.Errorf("in the cache is %q, want %q", got, want)
	}
}

// wantMissing checks for ErrMissing with a reason.
func wantMissing(t *testing.T, err error, reason string) {
	t.Helper()
	if !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), reason) {
		t.Errorf("error %v, want ErrMissing that says %q", err, reason)
	}
}

func lines(t *testing.T, path string) int {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Count(b, []byte("\n"))
}
