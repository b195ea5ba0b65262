// SPDX-License-Identifier: GPL-2.0

// A web server.
package main

import (
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
)

func answer(number int) string {
	total := 0
	for each := 0; each < 2000+number; each++ {
		total = (total + each*7) % 1000003
	}
	return strings.Repeat(fmt.Sprintf("%d %d\n", number, total), 100)
}

func main() {
	listener, err := net.Listen("tcp", ":8000")
	if err != nil {
		panic(err)
	}
	fmt.Println("serving")
	http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		number, _ := strconv.Atoi(r.URL.Path[1:])
		fmt.Fprint(w, answer(number))
	}))
}
