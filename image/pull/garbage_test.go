package pull

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/umiak/umiak/cache"
	"github.com/umiak/umiak/cache/digest"
	"github.com/umiak/umiak/image"
	"github.com/umiak/umiak/image/registry"
)

// litter stores a blob that nothing names.
func litter(t *testing.T, c *cache.Cache) string {
	t.Helper()
	b := []byte("litter")
	d := digest.FromBytes(b)
	err := c.Put(t.Context(), d, int64(len(b)), func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil })
	if err != nil {
		t.Fatal(err)
	}
	return "blobs/sha256/" + d.Hex()
}

// failLast answers 404 for a layer once all others are stored, so that there is
// something to clean up.
func failLast(t *testing.T, reg *testRegistry, dir string, layers []string) {
	t.Helper()
	last := layers[len(layers)-1]
	reg.answer(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, last) {
			return false
		}
		for _, l := range layers[:len(layers)-1] {
			if !waitFor(filepath.Join(dir, "blobs/sha256", strings.TrimPrefix(l, "sha256:"))) {
				t.Errorf("layer %s is not stored", l)
			}
		}
		http.Error(w, "", http.StatusNotFound)
		return true
	})
}

// A pull that fails takes away what it has stored, and nothing else.
func TestFailedPullLeavesNothing(t *testing.T) {
	reg, dir := serve(t), t.TempDir()
	c := openCache(t, dir)
	shared := []string{"shared", "1"}
	other := reg.push(t, "o/r:other", build(t, shared))
	mustPull(t, other, Options{Cache: c}).Root.Close()
	leased, err := c.Root(t.Context(), "in-use", func(context.Context, *os.File) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	defer leased.Close()
	before := contents(t, dir)

	img := build(t, shared, []string{"a", "2"}, []string{"b", "3"})
	ref := reg.push(t, "o/r:t", img)
	failLast(t, reg, dir, digests(t, img))
	src := registry.New(registry.Options{})
	if _, err := Pull(t.Context(), ref, Options{Cache: c, Source: src}); !errors.Is(err, image.ErrNotFound) {
		t.Errorf("pulled without a layer: %v", err)
	}
	if after := contents(t, dir); !slices.Equal(after, before) {
		t.Errorf("there was %v, now there is %v", before, after)
	}

	// Who else adds to the cache may rely on any of it.
	done, err := c.Writing(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Pull(t.Context(), ref, Options{Cache: c, Source: src}); !errors.Is(err, image.ErrNotFound) {
		t.Errorf("pulled without a layer: %v", err)
	}
	if after := contents(t, dir); len(after) != len(before)+1 {
		t.Errorf("while another pulls there was %v, now there is %v; want one more", before, after)
	}
	done()
	// It goes with whatever is removed next, even if there is nothing to remove.
	if freed, err := Remove(t.Context(), c, parse(t, "nosuch"), image.Platform{}); !errors.Is(err, ErrNotCached) || freed == 0 {
		t.Errorf("Remove frees %d, %v", freed, err)
	}
	if after := contents(t, dir); !slices.Equal(after, before) {
		t.Errorf("there was %v, now there is %v", before, after)
	}
}

func TestCancelledPullLeavesNothing(t *testing.T) {
	reg, dir := serve(t), t.TempDir()
	img := build(t, []string{"a", "1"}, []string{"b", "2"})
	ref := reg.push(t, "o/r:t", img)
	layers := digests(t, img)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	reg.answer(func(_ http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, layers[1]) {
			return false
		}
		if !waitFor(filepath.Join(dir, "blobs/sha256", strings.TrimPrefix(layers[0], "sha256:"))) {
			t.Error("the first layer is not stored")
		}
		cancel()
		<-r.Context().Done()
		return true
	})
	if _, err := Pull(ctx, ref, Options{Cache: openCache(t, dir), Source: registry.New(registry.Options{})}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if left := contents(t, dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// The tree is there, but the reference can't be written.
func TestUnstorableReference(t *testing.T) {
	reg, dir := serve(t), t.TempDir()
	ref := reg.push(t, "o/r:t", build(t, []string{"a", "1"}))
	c := openCache(t, dir)
	refs := filepath.Join(dir, "refs")
	if err := syscall.Mount(refs, refs, "", syscall.MS_BIND, ""); err != nil {
		t.Skip("needs root: ", err)
	}
	defer syscall.Unmount(refs, 0)
	if err := syscall.Mount("", refs, "", syscall.MS_REMOUNT|syscall.MS_BIND|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := Pull(t.Context(), ref, Options{Cache: c, Source: registry.New(registry.Options{})}); err == nil {
		t.Error("stored a reference in a directory that can't be written")
	}
	if left := contents(t, dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// What a tag stood for goes when it moves, unless somebody uses it or another tag
// names it.
func TestMovedTag(t *testing.T) {
	reg, dir := serve(t), t.TempDir()
	c := openCache(t, dir)
	always := Options{Cache: c, Always: true}
	one, two := build(t, []string{"v", "1"}), build(t, []string{"v", "2"})
	ref := reg.push(t, "o/r:t", one)
	kept := reg.push(t, "o/r:kept", one)
	mustPull(t, ref, always).Root.Close()
	mustPull(t, kept, always).Root.Close()

	// An unchanged tag doesn't pay for tidying up.
	rubbish := litter(t, c)
	mustPull(t, ref, always).Root.Close()
	if !slices.Contains(contents(t, dir), rubbish) {
		t.Error("the pull of an unchanged image collects garbage")
	}

	reg.push(t, "o/r:t", two)
	mustPull(t, ref, always).Root.Close()
	if slices.Contains(contents(t, dir), rubbish) {
		t.Error("a tag has moved, and what nothing names is still there")
	}
	if n := len(contents(t, dir)); n != 6 { // a reference, a layer and a root each
		t.Errorf("the image with another name went: %v", contents(t, dir))
	}

	old := mustPull(t, kept, Options{Cache: c, Source: nobody{t}})
	reg.push(t, "o/r:kept", two)
	mustPull(t, kept, always).Root.Close()
	if old.file("v") != "1" {
		t.Errorf("the root in use has v %s", old.file("v"))
	}
	old.Root.Close()

	reg.push(t, "o/r:t", one)
	done, err := c.Writing(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	rubbish = litter(t, c)
	mustPull(t, ref, always).Root.Close()
	if !slices.Contains(contents(t, dir), rubbish) {
		t.Error("collected while another pulls")
	}
	done()
	reg.push(t, "o/r:t", two)
	mustPull(t, ref, always).Root.Close()
	if n := len(contents(t, dir)); n != 4 { // two references to one image
		t.Errorf("left behind: %v", contents(t, dir))
	}
}
