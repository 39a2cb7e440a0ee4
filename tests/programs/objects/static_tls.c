/* Takes a good part of the room that the loader keeps for thread-local storage of objects that come late. */
char* taken(void);
static __thread char bytes[1200];
char* taken(void) { return bytes; }
