package sample

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Serve starts a registry on a free port of 127.0.0.1 and pushes images into it, by name (`demo`, `demo:1.0`). addr is
// host:port. After close nobody listens there and every connection is cut.
func Serve(images map[string]v1.Image) (addr string, close func(), err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, fmt.Errorf("starting a registry: %w", err)
	}
	quiet := log.New(io.Discard, "", 0)
	server := &http.Server{Handler: registry.New(registry.Logger(quiet)), ErrorLog: quiet, ReadHeaderTimeout: time.Minute}
	var serving sync.WaitGroup
	serving.Go(func() { server.Serve(listener) }) // until closed
	stop := func() { server.Close(); serving.Wait() }
	addr = listener.Addr().String()
	var errs []error
	for repository, image := range images {
		errs = append(errs, push(addr+"/"+repository, image))
	}
	if err := errors.Join(errs...); err != nil {
		stop()
		return "", nil, err
	}
	return addr, stop, nil
}

func push(reference string, image v1.Image) error {
	ref, err := name.ParseReference(reference)
	if err != nil {
		return fmt.Errorf("naming an image: %w", err)
	}
	if err := remote.Write(ref, image); err != nil {
		return fmt.Errorf("pushing %s: %w", ref, err)
	}
	return nil
}
