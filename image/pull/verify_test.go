package pull

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/umiak/umiak/cache"
	"github.com/umiak/umiak/cache/digest"
	"github.com/umiak/umiak/image"
	"github.com/umiak/umiak/image/registry"
	"github.com/umiak/umiak/unpack/manifest"
)

func verified(t *testing.T, c *cache.Cache, ref image.Reference) (list []string, err error) {
	t.Helper()
	err = Verify(t.Context(), c, ref, image.HostPlatform(), func(d manifest.Difference) { list = append(list, d.String()) })
	return list, err
}

// What was changed by hand is named, and made good again from the layers alone.
func TestVerifyAndRepair(t *testing.T) {
	reg, c := serve(t), openCache(t, filepath.Join(t.TempDir(), "cache"))
	ref := reg.push(t, "o/r:t", build(t, []string{"a", "1", "d/b", "2"}, []string{"d/c", "3"}))
	res := mustPull(t, ref, Options{Cache: c})
	root := res.Root.Path()
	if list, err := verified(t, c, ref); list != nil || err != nil {
		t.Fatalf("just pulled: %q, %v", list, err)
	}
	if err := os.WriteFile(filepath.Join(root, RootFS, "a"), []byte("one"), 0o644); err != nil {
		t.Fatal(err)
	}
	list, err := verified(t, c, ref)
	if err != nil || len(list) != 2 || !strings.HasPrefix(list[0], "/a: mtime is ") || list[1] != "/a: size is 3, not 1" {
		t.Fatalf("changed: %q, %v", list, err)
	}
	offline := Options{Cache: c, Platform: image.HostPlatform()}
	if err := Repair(t.Context(), ref, offline); !errors.Is(err, cache.ErrBusy) {
		t.Fatalf("repaired while in use: %v", err)
	}
	res.Root.Close()
	if err := Repair(t.Context(), ref, offline); err != nil {
		t.Fatal(err)
	}
	if list, err := verified(t, c, ref); list != nil || err != nil {
		t.Fatalf("repaired: %q, %v", list, err)
	}

	// Without layers it takes a source.
	img := res.Image
	if err := os.Truncate(filepath.Join(c.Path(), "blobs/sha256", img.Layers[0].Digest.Hex()), 5); err != nil {
		t.Fatal(err)
	}
	if err := Repair(t.Context(), ref, offline); !errors.Is(err, ErrNotCached) {
		t.Fatal(err)
	}
	if _, err := verified(t, c, ref); !errors.Is(err, ErrUnverifiable) {
		t.Fatalf("no root: %v", err)
	}
	offline.Source = registry.New(registry.Options{})
	if err := Repair(t.Context(), ref, offline); err != nil {
		t.Fatal(err)
	}
	if list, err := verified(t, c, ref); list != nil || err != nil {
		t.Fatalf("repaired with a source: %q, %v", list, err)
	}
}

// What can't be looked at is not said to be good.
func TestUnverifiable(t *testing.T) {
	reg, c := serve(t), openCache(t, filepath.Join(t.TempDir(), "cache"))
	ref := reg.push(t, "o/r:t", build(t, []string{"a", "1"}))
	root := mustPull(t, ref, Options{Cache: c}).Root.Path()
	if _, err := verified(t, c, parse(t, reg.host+"/o/r:other")); !errors.Is(err, ErrNotCached) {
		t.Error(err)
	}
	file := filepath.Join(root, Manifest)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for about, spoil := range map[string]func() error{
		"cut":     func() error { return os.Truncate(file, 100) },
		"missing": func() error { return os.Remove(file) },
		"other": func() error {
			return os.WriteFile(file, []byte(strings.Replace(string(whole), "0644", "0666", 1)), 0o600)
		},
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		if list, err := verified(t, c, ref); !errors.Is(err, ErrUnverifiable) || list != nil {
			t.Errorf("%s: %q, %v", about, list, err)
		}
		if err := os.WriteFile(file, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(filepath.Join(root, RootFS), filepath.Join(root, "elsewhere")); err != nil {
		t.Fatal(err)
	}
	for _, link := range []bool{false, true} {
		if link {
			if err := os.Symlink("elsewhere", filepath.Join(root, RootFS)); err != nil {
				t.Fatal(err)
			}
		}
		if list, err := verified(t, c, ref); err != nil || !slices.Equal(list, []string{"/: missing"}) {
			t.Errorf("no tree: %q, %v", list, err)
		}
	}
}

// Unpack gives the tree that Pull gives, and leaves nothing in any cache.
func TestUnpack(t *testing.T) {
	reg := serve(t)
	ref := reg.push(t, "o/r:t", build(t, []string{"a", "1", "d/b", "2"}, []string{"d/.wh.b", "", "d/c", "3"}, []string{"e", strings.Repeat("long", 1<<20)}))
	c := openCache(t, filepath.Join(t.TempDir(), "cache"))
	res := mustPull(t, ref, Options{Cache: c})
	m, err := os.Open(filepath.Join(res.Root.Path(), Manifest))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	var meter Meter
	o := Options{Source: registry.New(registry.Options{}), Meter: &meter}
	if err := Unpack(t.Context(), res.Image, o, dir); err != nil {
		t.Fatal(err)
	}
	if err := manifest.Compare(t.Context(), dir, m, func(d manifest.Difference) {
		t.Error(d)
	}); err != nil {
		t.Error(err)
	}
	if s := meter.Snapshot(); s.Phase != PhaseDone || s.Bytes != s.TotalBytes || s.Bytes != res.Image.Size || s.Layers != 3 || s.TotalLayers != 3 {
		t.Errorf("the meter says %+v", s)
	}
}

// Each layer is checked as it travels and as it is inside, read to the end or not.
func TestUnpackVerifies(t *testing.T) {
	whole := compress(t, tarOf(t, "a", "1"))
	padded := append(slices.Clone(whole), make([]byte, 1<<20)...) // zeros after gzip are let pass by some
	for about, c := range map[string]struct {
		sent      []byte
		want      image.Layer
		mismatch  bool
		otherwise string
	}{
		"good":               {whole, layerOf(whole, tarOf(t, "a", "1")), false, ""},
		"good, padded":       {padded, layerOf(padded, tarOf(t, "a", "1")), false, ""},
		"padded on a whim":   {padded, layerOf(whole, tarOf(t, "a", "1")), true, ""},
		"cut":                {whole[:len(whole)-1], layerOf(whole, tarOf(t, "a", "1")), true, ""},
		"another inside":     {whole, layerOf(whole, tarOf(t, "a", "2")), true, "not what the image's config says"},
		"another":            {compress(t, tarOf(t, "a", "2")), layerOf(whole, tarOf(t, "a", "2")), true, ""},
		"damaged at the end": {append(slices.Clone(whole[:len(whole)-1]), whole[len(whole)-1]^1), layerOf(whole, tarOf(t, "a", "1")), true, "image x.example/o/r:t: layer: content does not match: want"},
		"damaged":            {append(slices.Clone(whole[:30]), whole[31:]...), layerOf(whole, tarOf(t, "a", "1")), true, ""},
	} {
		dir, err := os.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		img := &image.Image{Reference: parse(t, "x.example/o/r:t"), Layers: []image.Layer{c.want}}
		err = Unpack(t.Context(), img, Options{Source: sends(c.sent)}, dir)
		if (err != nil) != c.mismatch || errors.Is(err, digest.ErrMismatch) != c.mismatch || err != nil && !strings.Contains(err.Error(), c.otherwise) {
			t.Errorf("%s: %v", about, err)
		}
		dir.Close()
	}
	if err := Unpack(t.Context(), &image.Image{}, Options{}, nil); !errors.Is(err, ErrNotCached) {
		t.Error(err)
	}
}

func layerOf(packed, tar []byte) image.Layer {
	return image.Layer{Digest: digest.FromBytes(packed), DiffID: digest.FromBytes(tar), Size: int64(len(packed))}
}

// sends is a source that gives the same bytes for every layer.
type sends []byte

func (s sends) Resolve(context.Context, image.Reference, image.Platform) (*image.Image, error) {
	return nil, image.ErrNotFound
}

func (s sends) Open(context.Context, image.Reference, image.Layer) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(s)), nil
}
