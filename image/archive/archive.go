// Package archive is an image.Source over OCI layouts: directories, and tars of
// such directories, as skopeo, buildx, podman and docker save (since version 25)
// write them.
//
// It promises that nothing outside of the layout is opened: the paths of blobs are
// made of strictly parsed digests, and a link that leads out is an error, as is
// whatever isn't a regular file. Documents are verified as those of a registry
// are; layers are passed on as they are.
package archive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/umiak/umiak/cache/digest"
	"github.com/umiak/umiak/image"
)

var (
	// ErrNotALayout says that what was opened is something else.
	ErrNotALayout = errors.New("not an OCI image layout")
	// ErrAmbiguous says that a layout has several images that could be meant.
	ErrAmbiguous = errors.New("more than one image may be meant")
)

// The files of a layout that are not blobs (image-spec, image-layout.md).
const (
	indexFile   = "index.json"
	versionFile = "oci-layout"
	dockerFile  = "manifest.json" // docker save's own index
)

// A Source is an open layout. It may be used by many goroutines at once.
type Source struct {
	path    string
	files   files
	entries []entry
}

// files is where a layout's files are: a directory or a tar. The error of a name
// that isn't there is fs.ErrNotExist.
type files interface {
	open(name string) (rc io.ReadCloser, size int64, err error)
	Close() error
}

// Open opens the layout at path, a directory or a tar.
func Open(path string) (*Source, error) {
	s, err := open(path)
	if err != nil {
		return nil, fmt.Errorf("opening layout %s: %w", path, err)
	}
	return s, nil
}

func open(path string) (*Source, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, bare(err)
	}
	path = filepath.Clean(path) // not before: it makes something of nothing
	s := &Source{path: path}
	if info.IsDir() {
		s.files, err = openDir(path)
	} else {
		s.files, err = openTar(path)
	}
	if err != nil {
		return nil, bare(err)
	}
	if err := s.read(); err != nil {
		s.files.Close()
		return nil, err
	}
	return s, nil
}

// bare is an error without the path, which the message has already.
func bare(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// read reads the files that say what there is.
func (s *Source) read() error {
	if err := s.checkVersion(); err != nil {
		return err
	}
	b, err := s.document(indexFile)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: it has no %s", ErrNotALayout, indexFile)
	}
	if err == nil {
		s.entries, err = parseIndex(b)
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", indexFile, err)
	}
	return nil
}

// checkVersion reads the file that makes a directory a layout. There is one
// version so far.
func (s *Source) checkVersion() error {
	b, err := s.document(versionFile)
	if errors.Is(err, fs.ErrNotExist) {
		if rc, _, err := s.files.open(dockerFile); err == nil {
			rc.Close()
			return fmt.Errorf("%w: it is docker save's older format, which is not supported yet; "+
				"save it with docker 25 or later, or: skopeo copy docker-archive:FILE oci:DIR", ErrNotALayout)
		}
		return fmt.Errorf("%w: it has no file %s", ErrNotALayout, versionFile)
	}
	if err != nil {
		return err
	}
	var v struct {
		Version string `json:"imageLayoutVersion"`
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return fmt.Errorf("reading %s: %w", versionFile, err)
	}
	if v.Version != "1.0.0" {
		return fmt.Errorf("its layout version is %q, not 1.0.0", v.Version)
	}
	return nil
}

// document reads a file that is small by right.
func (s *Source) document(name string) ([]byte, error) {
	rc, size, err := s.files.open(name)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	// Whoever may write to the layout may also let the file grow meanwhile.
	b, err := io.ReadAll(io.LimitReader(rc, image.MaxDocument+1))
	if err == nil && max(size, int64(len(b))) > image.MaxDocument {
		err = fmt.Errorf("%s is larger than %d bytes", name, image.MaxDocument)
	}
	return b, err
}

// blobPath is where the spec has a blob. A Digest may be made by conversion, so it
// is parsed here, where it becomes a path (CVE-2024-3727).
func blobPath(d digest.Digest) (string, error) {
	d, err := digest.Parse(d.String())
	if err != nil {
		return "", err
	}
	return "blobs/" + d.Algorithm() + "/" + d.Hex(), nil
}

// Close gives back what Open opened. Layers that are being read stay readable in a
// directory, but not in a tar.
func (s *Source) Close() error { return s.files.Close() }

// Resolve implements image.Source. See Reference for how images are named.
func (s *Source) Resolve(ctx context.Context, ref image.Reference, p image.Platform) (*image.Image, error) {
	if ref.Digest != "" {
		b, err := s.Manifest(ctx, image.Descriptor{Digest: ref.Digest})
		if err != nil {
			return nil, err
		}
		return image.Select(ctx, ref, b, "", p, s)
	}
	found, err := s.find(ref)
	if err != nil {
		return nil, err
	}
	if len(found) == 1 {
		return s.follow(ctx, ref, found[0].Descriptor, p)
	}
	list, err := join(found)
	if err != nil {
		return nil, err
	}
	img, err := image.Select(ctx, ref, list, "", p, s)
	if err == nil {
		img.Digest = img.ManifestDigest // the list is of our making
	}
	return img, err
}

func (s *Source) follow(ctx context.Context, ref image.Reference, d image.Descriptor, p image.Platform) (*image.Image, error) {
	b, err := s.Manifest(ctx, d)
	if err != nil {
		return nil, err
	}
	if err := d.Verify(b); err != nil {
		return nil, fmt.Errorf("reading the manifest of %s: %w", ref.Familiar(), err)
	}
	img, err := image.Select(ctx, ref, b, d.MediaType, p, s)
	if err == nil {
		img.Digest = d.Digest // by whatever algorithm
	}
	return img, err
}

// Manifest and Blob implement image.Fetcher.
func (s *Source) Manifest(_ context.Context, d image.Descriptor) ([]byte, error) {
	name, err := blobPath(d.Digest)
	if err != nil {
		return nil, err
	}
	b, err := s.document(name)
	return b, s.explain(d.Digest, err)
}

// Blob is the same: a layout keeps all documents in one place.
func (s *Source) Blob(ctx context.Context, d image.Descriptor) ([]byte, error) {
	return s.Manifest(ctx, d)
}

// Open implements image.Source.
func (s *Source) Open(ctx context.Context, _ image.Reference, l image.Layer) (io.ReadCloser, error) {
	name, err := blobPath(l.Digest)
	if err != nil {
		return nil, err
	}
	rc, _, err := s.files.open(name)
	if err != nil {
		return nil, s.explain(l.Digest, err)
	}
	return &reader{ctx, rc}, nil
}

func (s *Source) explain(d digest.Digest, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("blob %s %w in layout %s", d, image.ErrNotFound, s.path)
	}
	return fmt.Errorf("reading layout %s: %w", s.path, err)
}

// A reader stops when nobody wants to go on.
type reader struct {
	ctx context.Context
	io.ReadCloser
}

func (r *reader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.ReadCloser.Read(p)
}
