package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/umiak/umiak/run/spec"
	"github.com/umiak/umiak/run/state"
	"github.com/umiak/umiak/run/volume"
)

// locate finds where on the host each volume is, or will be, and makes nothing yet.
func (p *prepared) locate(vs []spec.Mount) error {
	p.beneath = map[string]string{}
	for i := range vs {
		v := &vs[i]
		switch {
		case v.Type == "tmpfs":
		case v.Type == "volume" && v.Source == "":
			v.Options = append(v.Options, "nodev")
			v.HostPath = filepath.Join(p.stateDir(), "volumes", strconv.Itoa(i))
		case v.Type == "volume":
			v.Options = append(v.Options, "nodev")
			v.HostPath = filepath.Join(p.cache.Path(), "volumes", v.Source)
			if v.Subpath != "" {
				// Looked up beneath the volume when it is mounted: what is in a volume may be
				// changed by another container at any moment.
				p.beneath[v.Target] = v.HostPath
				v.HostPath = filepath.Join(v.HostPath, v.Subpath)
			}
		default:
			abs, err := filepath.Abs(v.Source)
			if err != nil {
				return err
			}
			v.HostPath = abs
			if _, err := os.Stat(abs); err != nil && !(v.CreateSource && errors.Is(err, os.ErrNotExist)) {
				return fmt.Errorf("the source of the mount at %s: %w", v.Target, err)
			}
		}
	}
	return nil
}

// provide makes what is missing: a bind's source as docker does for -v, and volumes, each filled
// with what the image has at that place the first time.
func (p *prepared) provide(st *state.State, vs []spec.Mount) error {
	for _, v := range vs {
		var err error
		switch {
		case v.Type == "bind" && v.CreateSource:
			if _, statErr := os.Stat(v.HostPath); errors.Is(statErr, os.ErrNotExist) {
				err = os.MkdirAll(v.HostPath, 0o755)
			}
		case v.Type == "volume" && v.Subpath != "":
			err = volume.Make(p.beneath[v.Target], "")
		case v.Type == "volume":
			err = p.provideVolume(v)
		}
		if err == nil && v.Chown {
			err = volume.Chown(v.HostPath, int(p.spec.Process.User.UID), int(p.spec.Process.User.GID))
		}
		if err != nil {
			return fmt.Errorf("the volume at %s: %w", v.Target, err)
		}
	}
	return nil
}

func (p *prepared) provideVolume(v spec.Mount) error {
	from := ""
	if !v.NoCopy {
		inside, err := p.tree.Resolve(v.Target)
		if err != nil {
			return err
		}
		from = filepath.Join(p.treePath, inside)
	}
	return volume.Make(v.HostPath, from)
}
