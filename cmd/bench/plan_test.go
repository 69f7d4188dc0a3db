package main

import (
	"archive/tar"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// TestPlansAreLikeImages: as many files and bytes as the benchmark claims, and the shapes that cost an unpacker.
func TestPlansAreLikeImages(t *testing.T) {
	var files, bytes int64
	var sizes []int64
	kinds, whiteouts := map[byte]int{}, 0
	for _, p := range plans(false) {
		for _, e := range p.items() {
			kinds[e.kind]++
			if e.kind != tar.TypeReg {
				continue
			}
			if strings.HasPrefix(filepath.Base(e.name), ".wh.") {
				whiteouts++
				continue
			}
			files, bytes, sizes = files+1, bytes+e.size, append(sizes, e.size)
		}
	}
	slices.Sort(sizes)
	if files < 5000 || files > 9000 {
		t.Errorf("%d files", files)
	}
	if bytes < 150e6 || bytes > 200e6 {
		t.Errorf("%d bytes", bytes)
	}
	if median := sizes[len(sizes)/2]; median < 3000 || median > 6000 {
		t.Errorf("the median file has %d bytes", median)
	}
	if whiteouts < 10 || kinds[tar.TypeDir] < 300 || kinds[tar.TypeSymlink] < 100 || kinds[tar.TypeLink] < 50 {
		t.Errorf("%d whiteouts, kinds %v", whiteouts, kinds)
	}
}

// TestItemsAreInOrder: a directory stands before what is in it, a hard link after its target, no name twice.
func TestItemsAreInOrder(t *testing.T) {
	for _, p := range plans(true) {
		seen := map[string]bool{"": true}
		for _, e := range p.items() {
			name := strings.TrimSuffix(e.name, "/")
			dir := strings.TrimPrefix(filepath.Dir(name), ".")
			if !seen[dir] && !(p.change != nil && strings.HasPrefix(name, p.change.top)) {
				t.Fatalf("%s comes before its directory", e.name)
			}
			if e.kind == tar.TypeLink && !seen[e.link] {
				t.Fatalf("%s comes before its target %s", e.name, e.link)
			}
			if seen[name] {
				t.Fatalf("%s comes twice", e.name)
			}
			seen[name] = true
		}
	}
}

// TestUnpackImage: the same bytes each time, whole, and compressing like real ones.
func TestUnpackImage(t *testing.T) {
	first, err := unpackImage(plans(true))
	if err != nil {
		t.Fatal(err)
	}
	again, err := unpackImage(plans(true))
	if err != nil {
		t.Fatal(err)
	}
	a, errA := first.Digest()
	b, errB := again.Digest()
	if errA != nil || errB != nil || a != b {
		t.Errorf("two images differ: %v (%v), %v (%v)", a, errA, b, errB)
	}
	layers, err := first.Layers()
	if err != nil || len(layers) != 4 {
		t.Fatalf("%d layers, error %v", len(layers), err)
	}
	var packed, plain int64
	for _, layer := range layers {
		n, err := layer.Size()
		if err != nil {
			t.Fatal(err)
		}
		packed += n
		plain += tarBytes(t, layer.Uncompressed)
	}
	if r := float64(packed) / float64(plain); r < 0.3 || r > 0.5 {
		t.Errorf("compresses to %.2f of its size", r)
	}
}

func tarBytes(t *testing.T, open func() (io.ReadCloser, error)) (n int64) {
	t.Helper()
	r, err := open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return n
		}
		if err != nil {
			t.Fatal(err)
		}
		n += h.Size
	}
}

func TestTinyTrue(t *testing.T) {
	program := tinyTrue(runtime.GOARCH)
	if program == nil {
		t.Skipf("needs amd64 or arm64")
	}
	file := filepath.Join(t.TempDir(), "true")
	if err := os.WriteFile(file, program, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := exec.Command(file).Run(); err != nil {
		t.Error(err)
	}
	if tinyTrue("mips") != nil {
		t.Error("a program for an architecture that it was not written for")
	}
}
