package unpack

import (
	"fmt"
	"path"
	"strconv"
	"strings"
)

// cleanName makes a name relative to the root and free of "." and ".."; "" is the root itself. Leading slashes are dropped as every
// tar does. A ".." inside is resolved as text, like docker's; one that climbs out of the root is no accident.
func cleanName(name string) (string, error) {
	if strings.Contains(name, "..") {
		depth := 0
		for part := range strings.SplitSeq(name, "/") {
			switch part {
			case "", ".":
			case "..":
				depth--
			default:
				depth++
			}
			if depth < 0 {
				return "", fmt.Errorf("%w: the name leads out of the root", ErrUnsafe)
			}
		}
	}
	return path.Clean("/" + name)[1:], nil
}

func splitName(name string) (parent, base string) {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return "", name
	}
	return name[:i], name[i+1:]
}

func components(name string) []string { return strings.Split(name, "/") }

// quote shows a name of a layer: it may be long, and hold what a terminal would act upon.
func quote(name string) string {
	if len(name) > 200 {
		return strconv.Quote(name[:200]) + "…"
	}
	return strconv.Quote(name)
}
