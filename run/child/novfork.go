//go:build linux && !(amd64 || arm64)

package child

import "errors"

const haveVfork = false

func startVfork(*List, Attr) (*Process, error) {
	return nil, errors.New("no vfork on this architecture")
}
