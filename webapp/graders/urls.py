"""Addresses of graders."""

from django.urls import URLPattern

app_name = "graders"
urlpatterns: list[URLPattern] = []
