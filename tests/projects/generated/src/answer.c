int answer(void) {
    return __FILE__[0] + __LINE__;
}
