package unpack

import (
	"archive/tar"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/umiak/umiak/unpack/rootfs"
)

// paxXattr starts the records that hold extended attributes, as GNU tar, bsdtar and Go's archive/tar write them.
const paxXattr = "SCHILY.xattr."

// attrs takes from a header what a file has besides its contents. Names of users are not looked at: they mean nothing here.
func (e *engine) attrs(h *tar.Header) (rootfs.Attrs, error) {
	a := rootfs.Attrs{Mode: uint32(h.Mode) & 0o7777, ModTime: h.ModTime}
	// The last id of 32 bits is chown(2)'s "leave as it is": the file would stay root's.
	for _, id := range []int{h.Uid, h.Gid} {
		if id < 0 || int64(id) >= 1<<32-1 {
			return a, fmt.Errorf("%w: owner %d:%d", ErrUnsafe, h.Uid, h.Gid)
		}
	}
	a.UID, a.GID = uint32(h.Uid), uint32(h.Gid)
	if len(h.PAXRecords) == 0 {
		return a, nil
	}
	for _, key := range slices.Sorted(maps.Keys(h.PAXRecords)) {
		name, ok := strings.CutPrefix(key, paxXattr)
		if !ok {
			continue
		}
		if !keepXattr(name) {
			e.stats.SkippedXattrs++
			continue
		}
		value := h.PAXRecords[key]
		if err := e.limits.xattr(name, value); err != nil {
			return a, err
		}
		a.Xattrs = append(a.Xattrs, rootfs.Xattr{Name: name, Value: []byte(value)})
	}
	return a, nil
}

// keepXattr drops what would act on the host rather than in the image. The tree becomes a lower layer of an overlay, where
// trusted.overlay.redirect and the like would be obeyed; security.selinux, .ima, .SMACK64 and so on belong to the host's policy.
func keepXattr(name string) bool {
	switch {
	case strings.HasPrefix(name, "trusted.overlay."), strings.HasPrefix(name, "user.overlay."):
		return false
	case strings.HasPrefix(name, "security."):
		return name == "security.capability"
	}
	return true
}
