package unpack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/umiak/umiak/unpack/rootfs"
)

// noise is not the same anywhere: a piece that came twice or to the wrong file would show.
func noise(seed uint64, n int) string {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	r.Read(b)
	return string(b)
}

// TestFileSizes writes files of every size at which something changes, among small ones, some of them linked or replaced while they
// may still be being written.
func TestFileSizes(t *testing.T) {
	sizes := []int{0, 1, 511, 512, 513, smallFile - 1, smallFile, smallFile + 1, 2*blockSize - 700, 2 * blockSize, 3*blockSize + 5, 20 * blockSize}
	var lower, upper []entry
	want := map[string]record{}
	keep := func(e entry) { want[e.name] = e.record(want) }
	for i, size := range sizes {
		dir := entry{typ: "dir", name: fmt.Sprint("d", i), mode: 0o755, mtime: 5}
		keep(dir)
		lower = append(lower, dir)
		for k := range 40 {
			small := entry{typ: "file", name: fmt.Sprintf("d%d/%d", i, k), mode: 0o640, mtime: 7, uid: k % 3, content: noise(uint64(k), 100*k)}
			lower = append(lower, small)
			keep(small)
		}
		again := entry{typ: "file", name: dir.name + "/again", mode: 0o644, content: noise(1, size)}
		file := entry{typ: "file", name: dir.name + "/big", mode: 0o4755, uid: 3, content: noise(uint64(100+i), size)}
		link := entry{typ: "link", name: dir.name + "/link", target: file.name}
		lower = append(lower, again, file, link)
		again.content = noise(2, size+1)
		lower = append(lower, again)
		keep(again)
		file.mode = 0o755
		upper = append(upper, file)
		keep(file)
		old := file
		old.mode, old.name = 0o4755, link.name // the name that is left of the one replaced
		keep(old)
	}
	for name, wrap := range map[string]func(testing.TB, []byte) []byte{
		"plain": func(_ testing.TB, b []byte) []byte { return b }, "gzip": gz, "zstd": zst,
	} {
		for _, library := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " ", library), func(t *testing.T) {
				dir := tmpfs(t, "size=256m")
				_, err := flattenTo(t, dir, plain(wrap(t, tarOf(t, lower)), wrap(t, tarOf(t, upper))), Options{LibraryGzip: library})
				must(t, err)
				got := dumpTree(t, dir)
				delete(got, ".")
				for _, d := range diffTrees(got, want) {
					t.Error(d)
				}
			})
		}
	}
}

// busy is a sink whose only writer has something else to do until release is called.
func busy(t *testing.T) (w *writers, dir string, release func()) {
	dir = t.TempDir()
	d, err := rootfs.Open(dir)
	must(t, err)
	w = newWriters(d, 1)
	t.Cleanup(func() {
		w.close()
		must(t, d.Close())
	})
	f, err := d.File("blocker", me())
	must(t, err)
	blocker := &job{file: f, more: make(chan piece)}
	w.queue <- []*job{blocker}
	return w, dir, func() { close(blocker.more) }
}

func me() rootfs.Attrs {
	return rootfs.Attrs{Mode: 0o600, UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}
}

func put(t *testing.T, w *writers, name, content string) {
	t.Helper()
	f, err := w.File(name, me())
	must(t, err)
	b := &block{stream: &stream{pool: &pool{}, tokens: make(chan struct{}, 1)}}
	b.users.Store(1)
	w.add(name, &job{file: f, pieces: []piece{{[]byte(content), b}}}, int64(len(content)))
}

// What touches a file that is still to be written waits for it, and for nothing else.
func TestOrder(t *testing.T) {
	cases := map[string]struct {
		act  func(w *writers) error
		want map[string]string
	}{
		"remove":     {func(w *writers) error { return w.Remove("d/a") }, map[string]string{"d/b": "b"}},
		"remove all": {func(w *writers) error { return w.RemoveAll("d") }, nil},
		"link":       {func(w *writers) error { return w.Link("d/a", "c") }, map[string]string{"d/a": "a", "d/b": "b", "c": "a"}},
		"flush":      {(*writers).Flush, map[string]string{"d/a": "a", "d/b": "b"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w, dir, release := busy(t)
			must(t, w.Mkdir("d"))
			put(t, w, "d/a", "a")
			put(t, w, "d/b", "b")
			begun := time.Now()
			time.AfterFunc(50*time.Millisecond, release)
			must(t, c.act(w))
			if time.Since(begun) < 50*time.Millisecond {
				t.Error("did not wait")
			}
			must(t, w.Flush())
			for _, name := range []string{"d/a", "d/b", "c"} {
				got, err := os.ReadFile(filepath.Join(dir, name))
				if want, there := c.want[name]; string(got) != want || there != (err == nil) {
					t.Errorf("%s: %q, %v", name, got, err)
				}
			}
		})
	}
	t.Run("others do not wait", func(t *testing.T) {
		w, dir, release := busy(t)
		must(t, os.WriteFile(filepath.Join(dir, "old"), nil, 0o600))
		put(t, w, "a", "a")
		must(t, w.Mkdir("d"))
		must(t, w.Link("old", "d/l"))
		must(t, w.Remove("old"))
		must(t, w.RemoveAll("d"))
		release()
		must(t, w.Flush())
	})
}

// An error of a writer comes later than the entry it belongs to, maybe when another layer is being read. It must not name that.
func TestLateError(t *testing.T) {
	dir := tmpfs(t, "size=1m")
	first := tarOf(t, []entry{{typ: "file", name: "fits"}, {typ: "file", name: "large", content: noise(1, 900<<10)},
		{typ: "file", name: "too much", content: noise(2, 900<<10)}, {typ: "dir", name: "innocent"}})
	second := tarOf(t, []entry{{typ: "file", name: "g"}})
	_, err := flattenTo(t, dir, plain(first, second), Options{})
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("error %v", err)
	}
	for _, of := range []string{`layer 0: writing "large": no space left on device`, `layer 0: writing "too much": no space left on device`} {
		if strings.HasSuffix(err.Error(), of) {
			err = nil
			break
		}
	}
	if err != nil {
		t.Errorf("error %v", err)
	}
	// The end of a large file's writer must not leave its reader waiting for room.
	huge := tarOf(t, []entry{{typ: "file", name: "huge", content: noise(1, 40<<20)}})
	if _, err := flattenTo(t, tmpfs(t, "size=1m"), plain(huge), Options{}); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("error %v", err)
	}
}

// archive/tar is relied upon to pass on our reads as they are; should it ever not, that is noticed.
func TestLendingIsChecked(t *testing.T) {
	b := &block{data: make([]byte, 100), stream: &stream{pool: &pool{}, tokens: make(chan struct{}, 1)}}
	b.users.Store(1)
	open := func() *contents {
		s := &source{ctx: context.Background(), stream: &stream{}, block: b, rest: b.data}
		return &contents{Reader: s, size: 100, source: s}
	}
	buffered := open()
	buffered.Reader = bytes.NewReader(make([]byte, 100)) // the bytes come from elsewhere
	if _, err := buffered.next(); err != errLending {
		t.Errorf("read from elsewhere: %v", err)
	}
	short := open()
	short.Reader = io.LimitReader(short.source, 99)
	if p, err := short.next(); err != nil || len(p.data) != 99 {
		t.Fatalf("%d bytes, %v", len(p.data), err)
	}
	if _, err := short.next(); err != errLending {
		t.Errorf("one byte is missing: %v", err)
	}
}
