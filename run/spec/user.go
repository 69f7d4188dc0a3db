package spec

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// maxGroups is the kernel's NGROUPS_MAX. More is an error and no cut: a member
// of a group can have fewer rights than everybody else (mode 0604), so leaving
// one out silently may give more (CVE-2026-47262, CVE-2022-36109).
const maxGroups = 65536

// maxID is the last id there is: 2^32-1 means "leave as it is" to setuid(2).
const maxID = math.MaxUint32 - 1

// ParseUser resolves a user as docker's --user and an image's USER write it:
// NAME, UID, NAME:GROUP, UID:GID or a mixture; "" is uid 0. It gives the ids,
// with the supplementary groups listed, and the user's home directory.
//
// What consists of digits is a number or an error, and never a name: a number
// too large that was looked up as a name, or wrapped, became root in
// CVE-2024-40635 and CVE-2026-46680. A number need not be in the files and has
// gid 0 then; a name must be. The first matching line counts, and a matching
// line that can't be understood is an error, since zero stands for root.
func ParseUser(user string, files Files) (specs.User, string, error) {
	name, group, hasGroup := strings.Cut(user, ":")
	if name == "" && hasGroup {
		// docker takes this for root: "$UID:$GID" with UID unset.
		return specs.User{}, "", invalidf("user %q: nothing before the colon; want NAME or UID, then perhaps :GROUP or :GID", user)
	}
	u, err := findUser(cmp.Or(name, "0"), files.Passwd)
	if err != nil {
		return specs.User{}, "", err
	}
	groups := []uint32(nil)
	if group != "" {
		if u.gid, err = findGroup(group, files.Group); err != nil {
			return specs.User{}, "", err
		}
	} else {
		groups = groupsOf(u.name, files.Group)
	}
	// The primary group is listed too: without it a set-group-id program would
	// leave it behind (CVE-2022-36109).
	gids, err := mergeGroups([]uint32{u.gid}, groups)
	if err != nil {
		return specs.User{}, "", err
	}
	return specs.User{UID: u.uid, GID: u.gid, AdditionalGids: gids}, cmp.Or(u.home, "/"), nil
}

// entry is a line of passwd; name is "" for a number that has none.
type entry struct {
	name, home string
	uid, gid   uint32
}

func findUser(user string, passwd []byte) (entry, error) {
	uid, isNumber, err := parseID("user", user)
	if err != nil {
		return entry{}, err
	}
	for fields := range records(passwd) {
		id, idOK := number(field(fields, 2))
		if isNumber && (!idOK || id != uid) || !isNumber && field(fields, 0) != user {
			continue
		}
		gid, gidOK := number(field(fields, 3))
		if !idOK || !gidOK {
			return entry{}, invalidf("user %q: the image's /etc/passwd gives no valid uid and gid for it", user)
		}
		return entry{name: field(fields, 0), uid: id, gid: gid, home: field(fields, 5)}, nil
	}
	if !isNumber {
		return entry{}, missing("user", user, "/etc/passwd", passwd)
	}
	return entry{uid: uid}, nil
}

func findGroup(group string, file []byte) (uint32, error) {
	gid, isNumber, err := parseID("group", group)
	if err != nil || isNumber {
		return gid, err
	}
	for fields := range records(file) {
		if field(fields, 0) != group {
			continue
		}
		if gid, ok := number(field(fields, 2)); ok {
			return gid, nil
		}
		return 0, invalidf("group %q: the image's /etc/group gives no valid gid for it", group)
	}
	return 0, missing("group", group, "/etc/group", file)
}

// groupsOf lists the groups that name user as a member. Lines without a valid
// gid can give none.
func groupsOf(user string, file []byte) []uint32 {
	var gids []uint32
	if user == "" {
		return nil
	}
	for fields := range records(file) {
		if gid, ok := number(field(fields, 2)); ok && isMember(user, field(fields, 3)) {
			gids = append(gids, gid)
		}
	}
	return gids
}

func isMember(user, list string) bool {
	for member := range strings.SplitSeq(list, ",") {
		if member == user {
			return true
		}
	}
	return false
}

func addGroups(gids []uint32, names []string, files Files) ([]uint32, error) {
	var extra []uint32
	for _, name := range names {
		gid, err := findGroup(name, files.Group)
		if err != nil {
			return nil, err
		}
		extra = append(extra, gid)
	}
	return mergeGroups(gids, extra)
}

// mergeGroups appends what is not there yet, in order.
func mergeGroups(a, b []uint32) ([]uint32, error) {
	seen := map[uint32]bool{}
	var out []uint32
	for _, gid := range slices.Concat(a, b) {
		if !seen[gid] {
			seen[gid] = true
			out = append(out, gid)
		}
	}
	if len(out) > maxGroups {
		return nil, invalidf("user in %d groups: the kernel allows %d", len(out), maxGroups)
	}
	return out, nil
}

// parseID tells a number from a name. "+1", "-1" and "0x1" are names, which
// no file has.
func parseID(kind, s string) (id uint32, isNumber bool, err error) {
	if !isDigits(s) {
		return 0, false, nil
	}
	id, ok := number(s)
	if !ok {
		return 0, true, invalidf("%s %q: a number must be in 0..%d", kind, s, uint32(maxID))
	}
	return id, true, nil
}

// number takes digits only: with a base given ParseUint knows no sign, prefix
// or underscore.
func number(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil && n <= maxID
}

func missing(kind, name, file string, content []byte) error {
	if content == nil {
		return invalidf("%s %q: the image has no %s to find it in; give a number", kind, name, file)
	}
	return invalidf("%s %q: not in the image's %s", kind, name, file)
}

// maxFields is what a line of passwd has; a hostile one may consist of colons.
const maxFields = 7

// records yields the fields of each line that is neither empty nor a comment,
// reusing the slice.
func records(file []byte) func(yield func([]string) bool) {
	return func(yield func([]string) bool) {
		var fields []string
		for line := range strings.Lines(string(file)) {
			line = strings.TrimSpace(line)
			if len(line) == 0 || line[0] == '#' {
				continue
			}
			fields = fields[:0]
			for f := range strings.SplitSeq(line, ":") {
				if fields = append(fields, f); len(fields) == maxFields {
					break
				}
			}
			if !yield(fields) {
				return
			}
		}
	}
}

func field(fields []string, i int) string {
	if i < len(fields) {
		return fields[i]
	}
	return ""
}
