package image

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/umiak/umiak/cache/digest"
)

// MaxDocument is the most bytes a manifest, an index or a config may have: all of
// them are read into memory. Registries refuse to store manifests over 4 MiB.
const MaxDocument = 4 << 20

// Media types; the docker ones are older and mean the same.
const (
	typeOCIManifest    = "application/vnd.oci.image.manifest.v1+json"
	typeOCIIndex       = "application/vnd.oci.image.index.v1+json"
	typeOCIConfig      = "application/vnd.oci.image.config.v1+json"
	typeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	typeDockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	typeDockerConfig   = "application/vnd.docker.container.image.v1+json"
)

// ManifestTypes lists what a registry may answer with, for an Accept header.
func ManifestTypes() []string {
	return []string{typeOCIIndex, typeDockerList, typeOCIManifest, typeDockerManifest}
}

// A Descriptor points at a document or a layer.
type Descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      digest.Digest     `json:"digest"`
	Size        int64             `json:"size"`
	Platform    *jsonPlatform     `json:"platform"`
	Annotations map[string]string `json:"annotations"`
}

type jsonPlatform struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	Variant      string `json:"variant"`
}

func (p jsonPlatform) platform() Platform {
	return Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}.normal()
}

func (d Descriptor) check() error {
	if _, err := digest.Parse(d.Digest.String()); err != nil {
		return err
	}
	if d.Size < 0 {
		return fmt.Errorf("%s has the size %d", d.Digest, d.Size)
	}
	return nil
}

// Verify checks that content is what d points at.
func (d Descriptor) Verify(content []byte) error {
	_, err := io.Copy(io.Discard, digest.NewReader(bytes.NewReader(content), d.Digest, d.Size))
	return err
}

// document is a manifest or an index; which of the two is for parseDocument to say.
type document struct {
	SchemaVersion int             `json:"schemaVersion"`
	MediaType     string          `json:"mediaType"`
	ArtifactType  string          `json:"artifactType"`
	Config        *Descriptor     `json:"config"`
	Layers        []Descriptor    `json:"layers"`
	Manifests     []Descriptor    `json:"manifests"`
	FSLayers      json.RawMessage `json:"fsLayers"` // schema 1 only
}

func (d *document) isIndex() bool { return d.Manifests != nil }

// parseDocument reads a manifest or index. One that could be read as either is
// refused, as is a media type that contradicts the content (CVE-2021-41190: two
// programs that choose differently run different images under one digest).
// declared is what the sender or the parent said it is; empty or a type that says
// nothing is no contradiction.
func parseDocument(b []byte, declared string) (*document, error) {
	if len(b) > MaxDocument {
		return nil, fmt.Errorf("it is larger than %d bytes", MaxDocument)
	}
	if err := checkKeys(b, "schemaVersion", "mediaType", "artifactType", "config", "layers", "manifests", "fsLayers"); err != nil {
		return nil, err
	}
	var d document
	if err := json.Unmarshal(b, &d); err != nil {
		return nil, fmt.Errorf("it is not a manifest: %w", err)
	}
	hasManifest := d.Config != nil || d.Layers != nil
	switch {
	case d.SchemaVersion == 1 || d.FSLayers != nil:
		return nil, errors.New("it is of the old schema 1, without verifiable layers; the image must be pushed again by a current tool")
	case d.SchemaVersion != 2:
		return nil, fmt.Errorf("its schema version is %d, not 2", d.SchemaVersion)
	case hasManifest && d.isIndex():
		return nil, errors.New("it has both layers and manifests, so that it could be taken for an image or for a list of images")
	case !hasManifest && !d.isIndex():
		return nil, errors.New("it has neither layers nor manifests")
	}
	for _, t := range []string{declared, d.MediaType} {
		if index, known := indexType(t); known && index != d.isIndex() {
			return nil, fmt.Errorf("its media type is %s, its content is something else", t)
		}
	}
	if _, known := indexType(d.MediaType); d.MediaType != "" && !known {
		return nil, fmt.Errorf("its media type is %q, which is not that of an image", d.MediaType)
	}
	return &d, nil
}

// indexType tells whether media type t is an index's. Parameters such as a charset
// are no part of it.
func indexType(t string) (index, known bool) {
	t, _, _ = strings.Cut(t, ";")
	switch strings.TrimSpace(t) {
	case typeOCIIndex, typeDockerList:
		return true, true
	case typeOCIManifest, typeDockerManifest:
		return false, true
	}
	return false, false
}

// checkKeys refuses a key of ours that is there twice or in another spelling:
// encoding/json takes the last of several and ignores case, other readers do not.
func checkKeys(b []byte, known ...string) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return errors.New("it is not a JSON object")
	}
	seen := make(map[string]bool, len(known))
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return fmt.Errorf("it is not JSON: %w", err)
		}
		key, _ := t.(string)
		for _, k := range known {
			if !strings.EqualFold(key, k) {
				continue
			}
			if key != k || seen[k] {
				return fmt.Errorf("its field %q is there twice or misspelt", k)
			}
			seen[k] = true
		}
		var skip json.RawMessage
		if err := dec.Decode(&skip); err != nil {
			return fmt.Errorf("it is not JSON: %w", err)
		}
	}
	return nil
}

// parseManifest reads the manifest of one image.
func parseManifest(b []byte, declared string) (*document, error) {
	d, err := parseDocument(b, declared)
	if err != nil {
		return nil, err
	}
	if d.isIndex() {
		return nil, errors.New("it is a list of images, not an image")
	}
	if d.Config == nil {
		return nil, errors.New("it has no config")
	}
	if err := checkConfigType(d); err != nil {
		return nil, err
	}
	if err := d.Config.check(); err != nil {
		return nil, fmt.Errorf("its config: %w", err)
	}
	if d.Config.Size > MaxDocument {
		return nil, fmt.Errorf("its config is larger than %d bytes", MaxDocument)
	}
	var sum int64
	for i, l := range d.Layers {
		if err := checkLayer(l); err != nil {
			return nil, fmt.Errorf("its layer %d %w", i+1, err)
		}
		if l.Size > math.MaxInt64-sum {
			return nil, errors.New("its layers are larger than can be")
		}
		sum += l.Size
	}
	return d, nil
}

// checkConfigType refuses what travels as an image but is none: helm charts,
// attestations, signatures. The odd types at the end were written by old docker
// versions and registries, and docker still takes them (moby issues 22378, 24083).
func checkConfigType(d *document) error {
	if d.ArtifactType != "" {
		return fmt.Errorf("it is not a container image but an artifact of type %q", d.ArtifactType)
	}
	switch d.Config.MediaType {
	case typeOCIConfig, typeDockerConfig, "", "application/octet-stream", "application/json", "text/html":
		return nil
	}
	return fmt.Errorf("it is not a container image but an artifact of type %q", d.Config.MediaType)
}

func checkLayer(l Descriptor) error {
	if err := l.check(); err != nil {
		return fmt.Errorf("is badly described: %w", err)
	}
	switch l.MediaType {
	case "application/vnd.oci.image.layer.v1.tar",
		"application/vnd.oci.image.layer.v1.tar+gzip",
		"application/vnd.oci.image.layer.v1.tar+zstd",
		"application/vnd.docker.image.rootfs.diff.tar",
		"application/vnd.docker.image.rootfs.diff.tar.gzip",
		"application/vnd.docker.image.rootfs.diff.tar.zstd":
		return nil
	}
	switch {
	case strings.Contains(l.MediaType, ".foreign.") || strings.Contains(l.MediaType, ".nondistributable."):
		// Its URLs would have us send requests, once even credentials, wherever
		// an image says (CVE-2020-15157).
		return errors.New("is kept by a third party (a foreign layer, as Windows images have); that is not supported")
	case strings.HasSuffix(l.MediaType, "+encrypted"):
		return errors.New("is encrypted; that is not supported")
	case l.MediaType == "application/vnd.in-toto+json":
		return errors.New("is an attestation about an image, not an image")
	}
	return fmt.Errorf("is of the unknown type %q", l.MediaType)
}
