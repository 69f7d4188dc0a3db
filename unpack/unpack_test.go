package unpack

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/sys/unix"
)

// reading makes a layer of a reader and tells whether it was closed.
func reading(r io.Reader, closed *int) Layer {
	return Layer{Name: "sha256:cafe", Open: func(context.Context) (io.ReadCloser, error) {
		return struct {
			io.Reader
			io.Closer
		}{r, closer(func() error { *closed++; return nil })}, nil
	}}
}

type closer func() error

func (c closer) Close() error { return c() }

// Only at the end of a stream does a reader know that the digest is wrong: the padding must be read, and the error heeded.
func TestDrain(t *testing.T) {
	layer := append(tarOf(t, []entry{{typ: "file", name: "f"}}), make([]byte, 3<<20)...)
	wrong := errors.New("digest mismatch")
	var closed int
	r := io.MultiReader(bytes.NewReader(layer), iotest.ErrReader(wrong))
	_, err := flatten(t.Context(), newMemSink(), []Layer{reading(r, &closed)}, Options{})
	if !errors.Is(err, wrong) || !strings.Contains(err.Error(), "sha256:cafe") {
		t.Errorf("error %v", err)
	}
	if closed != 1 {
		t.Errorf("closed %d times", closed)
	}
}

func TestOpenAndCloseErrors(t *testing.T) {
	broken := errors.New("broken")
	_, err := flatten(t.Context(), newMemSink(), []Layer{{Open: func(context.Context) (io.ReadCloser, error) { return nil, broken }}}, Options{})
	if !errors.Is(err, broken) {
		t.Errorf("open: %v", err)
	}
	layer := tarOf(t, nil)
	_, err = flatten(t.Context(), newMemSink(), []Layer{{Open: func(context.Context) (io.ReadCloser, error) {
		return struct {
			io.Reader
			io.Closer
		}{bytes.NewReader(layer), closer(func() error { return broken })}, nil
	}}}, Options{})
	if !errors.Is(err, broken) {
		t.Errorf("close: %v", err)
	}
}

// A layer that is cut within a header or a file is an error. Cut between entries or in padding it is for the digest to tell.
func TestTruncated(t *testing.T) {
	layer := tarOf(t, []entry{{typ: "file", name: "f", content: strings.Repeat("x", 700)}, {typ: "file", name: "g", content: "yy"}})
	headers, contents := [][2]int{{0, 512}, {1536, 2048}}, [][2]int{{512, 1212}, {2048, 2050}}
	for cut := range layer {
		damaged := false
		for _, h := range headers {
			damaged = damaged || cut > h[0] && cut < h[1]
		}
		for _, c := range contents {
			damaged = damaged || cut >= c[0] && cut < c[1]
		}
		_, err := flatten(t.Context(), newMemSink(), plain(layer[:cut]), Options{})
		if damaged && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut at %d: %v", cut, err)
		}
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	before := runtime.NumGoroutine()
	endless := iotest.DataErrReader(readerFunc(func(p []byte) (int, error) {
		cancel()
		return copy(p, bytes.Repeat([]byte{1}, len(p))), ctx.Err()
	}))
	header := tarOf(t, []entry{{typ: "file", name: "f", content: "x"}})
	copy(header[124:], "77777777777\x00") // 8 GiB to come
	copy(header[148:], checksum(header[:512]))
	var closed int
	_, err := flatten(ctx, newMemSink(), []Layer{reading(io.MultiReader(bytes.NewReader(header[:512]), endless), &closed)}, Options{})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if closed != 1 {
		t.Errorf("closed %d times", closed)
	}
	if now := runtime.NumGoroutine(); now > before {
		t.Errorf("%d goroutines more", now-before)
	}
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func checksum(h []byte) string {
	sum := 0
	for i, b := range h[:512] {
		if i >= 148 && i < 156 {
			b = ' '
		}
		sum += int(b)
	}
	return fmt.Sprintf("%06o\x00 ", sum)
}

func TestNotEmpty(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "f"), nil, 0o600))
	if _, err := flattenTo(t, dir, nil, Options{}); !errors.Is(err, unix.ENOTEMPTY) {
		t.Errorf("error %v", err)
	}
}

func TestNoSpace(t *testing.T) {
	dir := tmpfs(t, "size=1m")
	layer := tarOf(t, []entry{{typ: "file", name: "big", content: strings.Repeat("x", 2<<20)}})
	_, err := flattenTo(t, dir, plain(layer), Options{})
	if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), `"big"`) {
		t.Errorf("error %v", err)
	}
}

func TestLimitError(t *testing.T) {
	layer := tarOf(t, []entry{{typ: "file", name: "a"}, {typ: "file", name: "b"}})
	_, err := flatten(t.Context(), newMemSink(), plain(layer), Options{MaxEntries: 1})
	var limit *LimitError
	if !errors.As(err, &limit) || limit.Limit != "MaxEntries" || limit.Max != 1 {
		t.Errorf("error %v", err)
	}
}

// Errors show names quoted and cut: they come from whoever made the image.
func TestHostileNameInError(t *testing.T) {
	layer := tarOf(t, []entry{{typ: "odd", name: "\x1b[2J" + strings.Repeat("n", 3000)}})
	_, err := flatten(t.Context(), newMemSink(), plain(layer), Options{})
	if err == nil || strings.Contains(err.Error(), "\x1b") || len(err.Error()) > 400 {
		t.Errorf("error %v", err)
	}
}

func TestStats(t *testing.T) {
	layer := tarOf(t, []entry{{typ: "dir", name: "d"}, {typ: "file", name: "d/f", content: "12345", xattrs: map[string]string{"security.selinux": "x"}},
		{typ: "file", name: ".wh.x"}})
	stats, err := flatten(t.Context(), newMemSink(), plain(layer), Options{})
	if want := (Stats{Entries: 3, Bytes: 5, SkippedXattrs: 1}); err != nil || stats != want {
		t.Errorf("%+v, %v", stats, err)
	}
}

// TestMemory flattens a file of 256 MiB in a few: what is allocated does not grow with it.
func TestMemory(t *testing.T) {
	pr, pw := io.Pipe()
	go func() {
		z, _ := gzip.NewWriterLevel(pw, gzip.BestSpeed)
		w := tar.NewWriter(z)
		w.WriteHeader(&tar.Header{Name: "big", Typeflag: tar.TypeReg, Size: 256 << 20, Mode: 0o644})
		io.CopyN(w, zeros{}, 256<<20)
		w.Close()
		z.Close()
		pw.Close()
	}()
	z, err := Decompress(pr)
	must(t, err)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var closed int
	stats, err := flatten(t.Context(), discardSink{newMemSink()}, []Layer{reading(z, &closed)}, Options{})
	must(t, err)
	runtime.ReadMemStats(&after)
	if stats.Bytes != 256<<20 {
		t.Errorf("%d bytes", stats.Bytes)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 32<<20 {
		t.Errorf("allocated %d MiB in all", used>>20)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
