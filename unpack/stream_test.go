package unpack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// checker records what it is written.
type checker struct {
	bytes.Buffer
	closed       int
	write, close error
}

func (c *checker) Write(p []byte) (int, error) { c.Buffer.Write(p); return len(p), c.write }
func (c *checker) Close() error                { c.closed++; return c.close }

func TestVerify(t *testing.T) {
	layer := append(tarOf(t, []entry{{typ: "file", name: "f", content: noise(1, 3<<20)}}), make([]byte, 5<<20)...)
	wrong := errors.New("digest mismatch")
	for name, c := range map[string]*checker{"right": {}, "wrong": {close: wrong}, "broken": {write: wrong}} {
		t.Run(name, func(t *testing.T) {
			layers := plain(tarOf(t, nil), gz(t, layer))
			layers[1].Verify = c
			_, err := flatten(t.Context(), newMemSink(), layers, Options{})
			if name == "right" && (err != nil || !bytes.Equal(c.Bytes(), layer)) {
				t.Errorf("%d bytes of %d, %v", c.Len(), len(layer), err)
			}
			if name != "right" && (!errors.Is(err, wrong) || !strings.Contains(err.Error(), "layer 1")) {
				t.Errorf("error %v", err)
			}
			if c.closed != 1 {
				t.Errorf("closed %d times", c.closed)
			}
		})
	}
	cut := &checker{close: wrong}
	layers := plain(gz(t, layer)[:1<<20])
	layers[0].Verify = cut
	if _, err := flatten(t.Context(), newMemSink(), layers, Options{}); !errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, wrong) {
		t.Errorf("a cut layer: %v, want the cause and not what follows from it", err)
	}
}

// endless counts what is read of it.
type endless struct {
	read   atomic.Int64
	closed atomic.Int64
}

func (e *endless) Read(p []byte) (int, error) {
	e.read.Add(int64(len(p)))
	return len(p), nil
}
func (e *endless) Close() error { e.closed.Add(1); return nil }

// TestAhead keeps the first layer waiting: those after it are read, but not far and not all.
func TestAhead(t *testing.T) {
	before := runtime.NumGoroutine()
	header := tarOf(t, []entry{{typ: "file", name: "f", content: "x"}})[:512]
	copy(header[124:], "77777777777\x00") // 8 GiB
	copy(header[148:], checksum(header))
	var sources [8]endless
	stuck, cancel := context.WithCancelCause(t.Context())
	var layers []Layer
	for i := range sources {
		layers = append(layers, Layer{Name: fmt.Sprint(i), Open: func(ctx context.Context) (io.ReadCloser, error) {
			if i == 0 {
				select {
				case <-stuck.Done():
					return nil, context.Cause(stuck)
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			}
			return struct {
				io.Reader
				io.Closer
			}{io.MultiReader(bytes.NewReader(header), &sources[i]), &sources[i]}, nil
		}})
	}
	broken := errors.New("the first layer is broken")
	time.AfterFunc(100*time.Millisecond, func() { cancel(broken) })
	if _, err := flatten(t.Context(), newMemSink(), layers, Options{}); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	for i := range sources {
		read, closed := sources[i].read.Load(), sources[i].closed.Load()
		if ahead := i > 0 && i < workers(); !ahead && read > 0 || ahead && (read == 0 || closed != 1) {
			t.Errorf("layer %d: %d bytes read, closed %d times", i, read, closed)
		}
		if read > (blocksAhead+1)*blockSize {
			t.Errorf("layer %d: %d MiB read ahead", i, read>>20)
		}
	}
	if now := runtime.NumGoroutine(); now > before {
		t.Errorf("%d goroutines more", now-before)
	}
}

// TestPeakMemory flattens a gigabyte in files of all sizes, in a process of its own.
func TestPeakMemory(t *testing.T) {
	if testing.Short() || underRace() {
		t.Skip("needs a gigabyte of tmpfs, and minutes with the race detector")
	}
	place := tmpfs(t, "size=64m")
	for i, size := range []int{256 << 20, 1 << 20, 1<<20 + 1, 100 << 10} {
		must(t, os.WriteFile(filepath.Join(place, fmt.Sprintf("%d.tar.gz", i)), gigabyteQuarter(t, i, size), 0o600))
	}
	into := tmpfs(t, "size=1200m")
	cmd := exec.Command(os.Args[0], "-test.run=^TestCompareChild$", "-compare.layers", filepath.Join(place, "*.gz"),
		"-compare.into", into, "-compare.verify")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var fs unix.Statfs_t
	must(t, unix.Statfs(into, &fs))
	if written := int64(fs.Blocks-fs.Bfree) * fs.Bsize; written < 1020<<20 {
		t.Errorf("only %d MiB written", written>>20)
	}
	peak := peakOf(out) >> 10
	t.Logf("%d MiB", peak)
	if peak == 0 || peak > 200 {
		t.Errorf("%d MiB resident at its peak", peak)
	}
}

// gigabyteQuarter is a layer of files of one size. What is in them is compressed once, and is a member of its own each time.
func gigabyteQuarter(t *testing.T, i, size int) []byte {
	content := slices.Repeat([]byte("not only zeros, which would be too easy. "), size/40+1)[:size]
	packed := gz(t, append(content, make([]byte, -size&511)...))
	var out []byte
	for k := range 256 << 20 / size {
		header := tarOf(t, []entry{{typ: "file", name: fmt.Sprintf("d%d/%d", i, k), mode: 0o644}})[:512]
		copy(header[124:], fmt.Sprintf("%011o\x00", size))
		copy(header[148:], checksum(header))
		out = append(append(out, gz(t, header)...), packed...)
	}
	return out
}

func underRace() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}
