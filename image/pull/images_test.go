package pull

import (
	"errors"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/umiak/umiak/cache"
	"github.com/umiak/umiak/cache/digest"
	"github.com/umiak/umiak/image"
)

func TestListAndRemove(t *testing.T) {
	reg, dir := serve(t), t.TempDir()
	c := openCache(t, dir)
	shared := []string{"shared", strings.Repeat("x", 100)}
	created := time.Date(2024, 9, 6, 12, 5, 36, 0, time.UTC)
	one := withConfig(t, build(t, shared, []string{"a", "1"}), func(c *v1.ConfigFile) { c.Created = v1.Time{Time: created} })
	refs := []image.Reference{
		reg.push(t, "o/r:one", one),
		reg.push(t, "o/r:two", build(t, shared, []string{"a", "2"})),
	}
	before := time.Now().Add(-time.Second)
	var results []*Result
	for _, ref := range refs {
		res := mustPull(t, ref, Options{Cache: c})
		res.Root.Close()
		results = append(results, res)
	}
	list, err := List(c)
	if err != nil || len(list) != 2 {
		t.Fatalf("List gives %v, %v", list, err)
	}
	e := list[0]
	if e.Reference != refs[0] || e.Digest != results[0].Image.Digest || e.ManifestDigest != results[0].Image.ManifestDigest || e.Size != results[0].Image.Size ||
		!e.Created.Equal(created) || e.Pulled.Before(before.Truncate(time.Second)) || e.Platform != image.HostPlatform() {
		t.Errorf("List gives %+v", e)
	}
	if _, err := Remove(t.Context(), c, parse(t, "nosuch"), image.Platform{}); !errors.Is(err, ErrNotCached) {
		t.Errorf("removing what is not there: %v", err)
	}
	if _, err := Remove(t.Context(), c, refs[0], image.Platform{OS: "linux", Architecture: "other"}); !errors.Is(err, ErrNotCached) {
		t.Errorf("removing another platform: %v", err)
	}
	freed, err := Remove(t.Context(), c, refs[0], image.Platform{})
	if err != nil || freed == 0 {
		t.Errorf("Remove frees %d, %v", freed, err)
	}
	// What the two share is kept: the other can be made again without the network.
	if err := c.Discard(t.Context(), results[1].Root.ID()); err != nil {
		t.Fatal(err)
	}
	if res := mustPull(t, refs[1], Options{Cache: c, Never: true}); res.file("shared") != shared[1] {
		t.Errorf("shared is %q", res.file("shared"))
	} else {
		res.Root.Close()
	}
	if _, err := Remove(t.Context(), c, parse(t, reg.host+"/o/r@"+results[1].Image.Digest.String()), image.HostPlatform()); err != nil {
		t.Errorf("removing by digest: %v", err)
	}
	if left := contents(t, dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// Another version's references are neither used nor taken for garbage.
func TestOtherVersions(t *testing.T) {
	reg, dir := serve(t), t.TempDir()
	c := openCache(t, dir)
	ref := reg.push(t, "o/r:t", build(t, []string{"a", "1"}))
	mustPull(t, ref, Options{Cache: c}).Root.Close()
	now, err := c.Ref(key(ref, image.HostPlatform()))
	if err != nil {
		t.Fatal(err)
	}
	newer := strings.Replace(string(now), `{"version":1,`, `{"version":2,`, 1)
	other := key(parse(t, "future"), image.HostPlatform())
	for _, data := range []string{newer, `{"version":2,"reference":"future"}`, `{"version":1,"reference":"future","manifest":"e30="}`, `x`} {
		if err := c.SetRef(other, []byte(data)); err != nil {
			t.Fatal(err)
		}
		if list, err := List(c); err != nil || len(list) != 1 {
			t.Errorf("%s: List gives %v, %v", data, list, err)
		}
		if _, err := Pull(t.Context(), parse(t, "future"), Options{Cache: c}); !errors.Is(err, ErrNotCached) {
			t.Errorf("%s: %v", data, err)
		}
		before := len(contents(t, dir))
		if _, err := Collect(t.Context(), c); err == nil || !errors.Is(err, cache.ErrMissing) || len(contents(t, dir)) != before {
			t.Errorf("%s: collected, %v", data, err)
		}
	}
}

// A digest means all that was pulled under whatever name.
func TestRemoveDigest(t *testing.T) {
	reg, dir := serve(t), t.TempDir()
	c := openCache(t, dir)
	img, other := build(t, []string{"a", "1"}), build(t, []string{"a", "2"})
	var d []digest.Digest
	for _, ref := range []image.Reference{reg.push(t, "o/r:one", img), reg.push(t, "p/q:two", img), reg.push(t, "o/r:other", other)} {
		res := mustPull(t, ref, Options{Cache: c})
		res.Root.Close()
		d = append(d, res.Image.Digest)
	}
	if _, err := RemoveDigest(t.Context(), c, digest.FromBytes(nil), image.Platform{}); !errors.Is(err, ErrNotCached) || !strings.Contains(err.Error(), digest.FromBytes(nil).String()) {
		t.Errorf("another digest: %v", err)
	}
	if _, err := RemoveDigest(t.Context(), c, d[0], image.Platform{OS: "linux", Architecture: "other"}); !errors.Is(err, ErrNotCached) {
		t.Errorf("another platform: %v", err)
	}
	freed, err := RemoveDigest(t.Context(), c, d[0], image.HostPlatform())
	if list, _ := List(c); err != nil || freed == 0 || len(list) != 1 || list[0].Digest != d[2] {
		t.Errorf("freed %d, %v; left is %v", freed, err, list)
	}
}
