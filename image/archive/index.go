package archive

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/umiak/umiak/cache/digest"
	"github.com/umiak/umiak/image"
)

// Annotations that name an image. The first is the spec's: mostly a tag, but the
// whole name in what some tools write. The second is containerd's and docker's,
// always the whole name.
const (
	refName  = "org.opencontainers.image.ref.name"
	fullName = "io.containerd.image.name"
)

// An entry is an image of the layout, or one for one platform.
type entry struct {
	image.Descriptor
	raw json.RawMessage
}

// parseIndex reads index.json.
func parseIndex(b []byte) ([]entry, error) {
	var doc struct {
		SchemaVersion int               `json:"schemaVersion"`
		Manifests     []json.RawMessage `json:"manifests"`
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		return nil, err
	}
	if doc.SchemaVersion != 2 {
		return nil, fmt.Errorf("its schema version is %d, not 2", doc.SchemaVersion)
	}
	var entries []entry
	for i, raw := range doc.Manifests {
		e := entry{raw: raw}
		err := json.Unmarshal(raw, &e.Descriptor)
		if err == nil && e.Digest == "" {
			err = errors.New("it has no digest")
		}
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", i+1, err)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// join makes a list of images of entries, as they are.
func join(entries []entry) ([]byte, error) {
	doc := struct {
		SchemaVersion int               `json:"schemaVersion"`
		Manifests     []json.RawMessage `json:"manifests"`
	}{SchemaVersion: 2}
	for _, e := range entries {
		doc.Manifests = append(doc.Manifests, e.raw)
	}
	return json.Marshal(doc)
}

// identity tells images of one layout apart. docker save gives every image of
// that tag the name "latest".
func (e entry) identity() string {
	if s := e.Annotations[fullName]; s != "" {
		return s
	}
	return e.Annotations[refName]
}

func (e entry) named(name string) bool {
	return name != "" && (e.Annotations[refName] == name || e.Annotations[fullName] == name)
}

// is compares whole names, whatever they leave out.
func (e entry) is(name string) bool {
	for _, mine := range []string{e.Annotations[fullName], e.Annotations[refName]} {
		if r, err := image.Parse(mine); err == nil && r.String() == name {
			return true
		}
	}
	return false
}

// Reference gives the image called name: what its entry in index.json is called,
// a digest, or "" for the only one. The result is good for this Source and for
// messages; it is no name in a registry.
func (s *Source) Reference(name string) image.Reference {
	dir, base := filepath.Split(s.path)
	if dir != "/" {
		dir = strings.TrimSuffix(dir, "/")
	}
	r := image.Reference{Registry: "oci:" + strings.TrimSuffix(dir, "/"), Repository: base}
	if dir == "" {
		r.Registry = "oci:."
	}
	if d, err := digest.Parse(name); err == nil {
		r.Digest = d
	} else {
		r.Tag = name
	}
	return r
}

// find gives the entry that ref names, or several that are for one platform each.
// It never chooses between images.
func (s *Source) find(ref image.Reference) ([]entry, error) {
	var found []entry
	for _, match := range []func(entry) bool{
		func(e entry) bool { return e.is(ref.String()) },
		func(e entry) bool { return e.is(normal(ref.Tag)) },
		func(e entry) bool { return e.named(ref.Tag) },
		func(entry) bool { return ref.Tag == "" },
	} {
		for _, e := range s.entries {
			if match(e) {
				found = append(found, e)
			}
		}
		if len(found) > 0 {
			return found, s.unambiguous(ref, found)
		}
	}
	if len(s.entries) == 0 {
		return nil, fmt.Errorf("image %s %w: the layout is empty", ref.Familiar(), image.ErrNotFound)
	}
	return nil, fmt.Errorf("image %s %w: the layout has %s", ref.Familiar(), image.ErrNotFound, list(s.entries))
}

// normal is a whole name in its canonical form; "" for a tag.
func normal(name string) string {
	if r, err := image.Parse(name); err == nil && strings.ContainsAny(name, ":/") {
		return r.String()
	}
	return ""
}

func (s *Source) unambiguous(ref image.Reference, found []entry) error {
	if len(found) == 1 {
		return nil
	}
	for _, e := range found {
		if e.identity() != found[0].identity() || e.Platform == nil {
			return fmt.Errorf("image %s: %w: %s", ref.Familiar(), ErrAmbiguous, list(found))
		}
	}
	return nil
}

// list names entries for a message.
func list(entries []entry) string {
	var names []string
	for i, e := range entries {
		if i == 10 {
			names = append(names, "…")
			break
		}
		name := e.Digest.String()
		if id := e.identity(); id != "" {
			name = strconv.Quote(id)
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}
